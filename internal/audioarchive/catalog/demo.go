package catalog

import (
	"context"

	"go.einride.tech/aip/resourceid"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

// demo are products for a database that has none.
var demo = []struct {
	title, description, currency string
	amount                       int64
	daw                          audioarchivev1.Daw
	tempo                        int32
	others                       bool // sold by a seller who never signs in
}{
	{"Deep House Starter", "A full arrangement with grouped drums, a warm bass and side-chained pads.\nStock devices only, every chain labelled.", "EUR", 1999, audioarchivev1.Daw_DAW_ABLETON_LIVE, 122, false},
	{"Liquid Drum & Bass", "Rolling breaks, Reese bass and a vocal chop rack. Ready to be taken apart.", "EUR", 2450, audioarchivev1.Daw_DAW_BITWIG_STUDIO, 174, false},
	{"Cinematic Strings Template", "Orchestral routing for sixty players: articulations mapped, stems bussed, reverbs by depth.", "EUR", 4900, audioarchivev1.Daw_DAW_CUBASE, 0, false},
	{"Trap Beat Skeleton", "Eight bars of drums with swing as it should be. Free, to see how the projects here are built.", "USD", 0, audioarchivev1.Daw_DAW_FL_STUDIO, 140, false},
	{"Indie Rock Session", "Twelve tracks, recorded dry: drums, two guitars, bass, voice. Mix it yourself.", "GBP", 1250, audioarchivev1.Daw_DAW_LOGIC_PRO, 118, true},
	{"Podcast Mix Template", "Voice chains, loudness metering and an export for every platform.", "USD", 900, audioarchivev1.Daw_DAW_REAPER, 0, true},
	{"Techno Live Set", "Two hours of loops in scenes, with macros for every transition.", "EUR", 3500, audioarchivev1.Daw_DAW_ABLETON_LIVE, 132, true},
}

// AddDemo adds the demo products, most of them with the given seller (see SellerID), to a database
// without products, and calls added for each. In another database it does nothing.
func AddDemo(ctx context.Context, db *productdb.DB, seller string, added func(productdb.Product) error) error {
	if found, err := db.List(ctx, productdb.Query{Limit: 1, Order: productdb.ByCreated}); err != nil || len(found.Products) > 0 {
		return err
	}
	for _, d := range demo {
		p := productdb.Product{
			ID: resourceid.NewSystemGeneratedBase32(), Seller: seller, Title: d.title, Description: d.description,
			Currency: d.currency, Amount: d.amount, DAW: int32(d.daw), Tempo: d.tempo,
		}
		if d.others {
			p.Seller = SellerID("demo", "another seller")
		}
		p, err := db.Create(ctx, p, nil)
		if err == nil {
			err = added(p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
