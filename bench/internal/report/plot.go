package report

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

//go:embed plot.svg.tmpl
var plotTemplate string

// The plot's measures, in pixels.
const (
	plotLetter = 7.4 // width of a bold letter, estimated
	plotScale  = 420 // width of the axis
	plotRow    = 30  // height of a row
	plotTop    = 64
)

// Plot writes the ratios of all rows as an SVG image: a point for the median of a row, a bar for half
// of the rounds and a line for all, on a logarithmic axis. The points of the second kind of headers
// are hollow.
func (r *Report) Plot(out io.Writer) error {
	tmpl, err := template.New("plot").Parse(plotTemplate)
	if err != nil {
		return err
	}
	var image bytes.Buffer
	if err := tmpl.Execute(&image, r.plot()); err != nil {
		return err
	}
	_, err = image.WriteTo(out)
	return err
}

type plot struct {
	Description               string
	Width, Height             int
	Left, Top, Bottom, Legend int
	Rows                      []plotLine
	Ticks                     []plotTick
	Kinds                     []string
	Commit, Date              string
}

type plotLine struct {
	Label  string
	Ours   bool
	Y      int
	Points []plotPoint
}

// A plotPoint has the places of a series' quantiles on the axis, and its value as text.
type plotPoint struct {
	Hollow bool
	Y      int
	Distribution
	Width, Text float64
	Value       string
}

type plotTick struct {
	X     float64
	Label string
}

// plot places the rows, the cheapest first.
func (r *Report) plot() plot {
	kinds := r.headers()
	var all [][]Series // of each row
	most := 1.0
	for _, s := range r.Series {
		if s.Against {
			continue
		}
		most = max(most, s.Ratio.Most)
		i := slices.IndexFunc(all, func(row []Series) bool { return row[0].Name == s.Name })
		if i < 0 {
			i, all = len(all), append(all, nil)
		}
		all[i] = append(all[i], s)
	}
	slices.SortStableFunc(all, func(a, b []Series) int { return cmp.Compare(a[0].Ratio.Median, b[0].Ratio.Median) })
	labels := 0
	for _, row := range all {
		labels = max(labels, int(plotLetter*float64(utf8.RuneCountInString(row[0].label())))+28)
	}
	ticks := ticksTo(most)
	x := func(v float64) float64 {
		first, last := ticks[0], ticks[len(ticks)-1]
		share := math.Log(max(v, first)/first) / math.Log(last/first)
		return math.Round(10*(float64(labels)+plotScale*share)) / 10
	}
	bottom := plotTop + plotRow*len(all)
	p := plot{
		Width: labels + plotScale + 70, Height: bottom + 60, Left: labels, Top: plotTop, Bottom: bottom, Legend: bottom + 44,
		Kinds: kinds, Commit: r.Commit, Date: r.Date.UTC().Format("2006-01-02"),
	}
	for _, tick := range ticks {
		p.Ticks = append(p.Ticks, plotTick{x(tick), fmt.Sprintf("%g", tick)})
	}
	for i, row := range all {
		line := plotLine{Label: row[0].label(), Ours: row[0].Product == "Gatehouse", Y: plotTop + plotRow*i + plotRow/2}
		var values []string
		for _, s := range row {
			d := s.Ratio
			at := Distribution{x(d.Least), x(d.First), x(d.Median), x(d.Third), x(d.Most)}
			point := plotPoint{
				Hollow: s.Headers != kinds[0], Y: line.Y, Distribution: at,
				Width: at.Third - at.First, Text: max(at.Most, at.Median+4) + 6, Value: ratio(d.Median),
			}
			if len(kinds) > 1 {
				point.Y += 14*slices.Index(kinds, s.Headers) - 7
			}
			line.Points = append(line.Points, point)
			values = append(values, point.Value+" with "+s.Headers+" headers")
		}
		p.Rows = append(p.Rows, line)
		p.Description += line.Label + ": " + strings.Join(values, ", ") + ". "
	}
	return p
}

// ticksTo returns the ticks of an axis that has the value: 0.5, 1, 2, 5, 10 and so on.
func ticksTo(value float64) []float64 {
	ticks := []float64{0.5}
	for decade := 1.0; ; decade *= 10 {
		for _, step := range []float64{1, 2, 5} {
			if ticks = append(ticks, decade*step); decade*step >= value {
				return ticks
			}
		}
	}
}
