package devidp

import (
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// A guestForm is the form of the sign-in page for a user who is in no file.
type guestForm struct {
	Open   bool
	Fields []*formField
}

// A formField is a field of a form. One with choices has a box for each, and a text for
// others.
type formField struct {
	Name, Label, Hint, Value, Error string
	Choices                         []choice
	Long                            bool // it has several lines
	Focus                           bool // it is the first one with an error
}

type choice struct {
	Value   string
	Checked bool
}

// DescribedBy returns the ids of what describes the field, for aria-describedby.
func (f *formField) DescribedBy() string {
	ids := "guest-" + f.Name + "-hint"
	if f.Error != "" {
		ids += " guest-" + f.Name + "-error"
	}
	return ids
}

// newGuestForm returns the form with the values of a submitted one.
func newGuestForm(policies directory.PolicyValues, values url.Values) *guestForm {
	acr := "Authentication contexts that the user reaches, separated by spaces. Empty: each one that is asked for."
	if len(policies.ACRValues) > 0 {
		acr += " The policies name " + strings.Join(policies.ACRValues, ", ") + "."
	}
	fields := []*formField{
		{Name: "name", Label: "Name", Hint: "The same name is the same user. Empty: Guest."},
		{Name: "email", Label: "E-mail", Hint: "Empty: made of the name, at example.com. For no address: none."},
		{Name: "subject", Label: "Subject", Hint: "The claim sub. Empty: made of the name."},
		{Name: "permissions", Label: "Permissions", Hint: "Others, separated by spaces.", Choices: choices(policies.Permissions, values["permissions"])},
		{Name: "scopes", Label: "Scopes", Hint: "Others, separated by spaces.", Choices: choices(policies.Scopes, values["scopes"])},
		{Name: "acr", Label: "ACR", Hint: acr},
		{Name: "claims", Label: "More claims", Hint: `A JSON object, such as {"org": "acme"}.`, Long: true},
	}
	for _, f := range fields {
		f.Value = values.Get(f.Name)
		if f.Name == "permissions" || f.Name == "scopes" {
			f.Value = values.Get(f.Name + "_more")
			if len(f.Choices) == 0 {
				f.Hint = "Separated by spaces."
			}
		}
	}
	return &guestForm{Fields: fields}
}

// choices returns the values of policies, with those that are checked.
func choices(values, checked []string) []choice {
	all := make([]choice, len(values))
	for i, value := range values {
		all[i] = choice{value, slices.Contains(checked, value)}
	}
	return all
}

// fail puts an error beside a field.
func (g *guestForm) fail(name, text string) {
	g.Open = true
	first := true
	for _, f := range g.Fields {
		if f.Name == name && f.Error == "" {
			f.Error = f.Label + " " + text + "."
		}
		f.Focus = first && f.Error != ""
		first = first && f.Error == ""
	}
}

// addFromForm adds the user of a submitted form. It returns nil, and errors beside the
// fields, if that is not possible.
func (rl *realm) addFromForm(values url.Values, now time.Time) (*directory.User, *guestForm) {
	form := newGuestForm(rl.policies, values)
	several := func(name string) (all []string) {
		for _, value := range slices.Concat(values[name], splitItems(values.Get(name+"_more"))) {
			if !slices.Contains(all, value) {
				all = append(all, value)
			}
		}
		return all
	}
	u := directory.User{
		Name: strings.TrimSpace(values.Get("name")), Email: strings.TrimSpace(values.Get("email")), Subject: strings.TrimSpace(values.Get("subject")),
		Role: "Added here", Permissions: several("permissions"), Scopes: several("scopes"), ACR: splitItems(values.Get("acr")),
	}
	if text := strings.TrimSpace(values.Get("claims")); text != "" {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber() // an integer stays one
		err := decoder.Decode(&u.Claims)
		if err == nil && decoder.Decode(new(any)) != io.EOF || u.Claims == nil {
			form.fail("claims", `are not a JSON object; write one such as {"org": "acme"}`)
		}
	}
	if u.Name == "" {
		u.Name = "Guest"
	}
	u.Key = rl.users.KeyFor(u.Name)
	var added *directory.User
	var problems []*directory.Problem
	if form.Open { // the claims are wrong
		problems = u.Problems()
	} else {
		added, problems = rl.users.Add(u, now)
	}
	for _, p := range problems {
		field := p.Field
		if field == "" {
			field = "name"
		}
		form.fail(field, p.Text)
	}
	return added, form
}

// splitItems returns the items of a text, which are separated by spaces, commas or lines.
func splitItems(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,\t\r\n", r) })
}
