package gatehouse

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"google.golang.org/grpc"

	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// defaultDevUsers is the users file that dev reads if it is there.
const defaultDevUsers = "dev-users.yaml"

// devMachine is the client of the development provider that gets access tokens
// without a user, for curl, if no file has machines. Its secret is its id.
const devMachine = "demo-machine"

// devJob is a machine of the class machines, if a policy admits that class.
const devJob = "demo-job"

// devPeople are the users and machines of the development provider.
type devPeople struct {
	users    []directory.User
	machines []directory.Machine
	policies directory.PolicyValues
	origin   string          // where the users come from
	path     string          // of the users file; "" for none
	text     string          // of path, as it was read last
	file     *directory.File // of path, or of the application; nil for none
}

// devPeople returns the users and machines of the setting dev-users, or else of the
// default file, of the application, and finally those that the policies make.
func (p *program) devPeople() (*devPeople, error) {
	people := &devPeople{policies: p.policyValues()}
	path := cmp.Or(p.cfg.DevUsers, defaultDevUsers)
	text, err := textfile.Read(path)
	switch {
	case err == nil:
		people.path, people.text, people.origin = path, text, path
		people.file, err = directory.ParseFile(path, text)
	case p.cfg.DevUsers != "":
		err = p.values.Describe("dev-users", err.Error(), "")
	case !errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%s: %w", path, err)
	case p.app.DevUsers != nil:
		people.origin = "of the application"
		people.file, err = directory.ParseFile("App.DevUsers", string(p.app.DevUsers))
	default:
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if people.file != nil {
		people.users, people.machines = people.file.Users, people.file.Machines
	}
	if people.users == nil {
		people.users = directory.DefaultUsers(people.policies, p.operatorPermissions()...)
		people.origin = "made of the policies; your own: " + defaultDevUsers
	}
	if people.machines == nil {
		people.machines = []directory.Machine{{
			ID: devMachine, Secret: devMachine, Permissions: people.policies.Permissions, Scopes: people.policies.Scopes,
		}}
		if p.admitsMachines() {
			job := people.machines[0]
			job.ID, job.Secret, job.Class = devJob, devJob, directory.ClassMachines
			people.machines = append(people.machines, job)
		}
	}
	return people, nil
}

// scopes returns the scopes of a sign-in: those that the policies name or that a user
// has, besides the default ones.
func (d *devPeople) scopes(byDefault string) string {
	scopes := append(strings.Fields(byDefault), d.policies.Scopes...)
	for _, u := range d.users {
		scopes = append(scopes, u.Scopes...)
	}
	var once []string
	for _, scope := range scopes {
		if !slices.Contains(once, scope) {
			once = append(once, scope)
		}
	}
	return strings.Join(once, " ")
}

// keys returns the keys of the users for a line of text.
func (d *devPeople) keys() string {
	const most = 8
	var keys []string
	for _, u := range d.users[:min(most, len(d.users))] {
		keys = append(keys, u.Key)
	}
	if more := len(d.users) - most; more > 0 {
		keys = append(keys, fmt.Sprintf("%d more", more))
	}
	return cmp.Or(strings.Join(keys, ", "), "none")
}

// followDevUsers makes the provider follow the users file.
func (p *parts) followDevUsers(ctx context.Context, people *devPeople, provider *devidp.Provider) {
	p.warnUnnamed(ctx, people, people.file)
	if people.path == "" || textfile.IsPipe(people.path) {
		return
	}
	p.security.Files.Watch(p.values.Variable("DevUsers"), people.path, func(content []byte) (bool, error) {
		text, err := textfile.Decode(content)
		if err != nil || text == people.text {
			return false, err
		}
		file, err := directory.ParseFile(people.path, text)
		if err != nil {
			return false, err
		}
		if file.Users == nil {
			file.Users = directory.DefaultUsers(people.policies, p.operatorPermissions()...)
		}
		if err := provider.SetUsers(file.Users); err != nil {
			return false, err
		}
		people.text = text
		p.warnUnnamed(ctx, people, file)
		return true, nil
	})
}

// warnUnnamed warns of values that no policy names, which are most likely misspelt.
func (p *parts) warnUnnamed(ctx context.Context, people *devPeople, file *directory.File) {
	if file == nil {
		return
	}
	known := people.policies
	known.Permissions = slices.Concat(known.Permissions, p.operatorPermissions())
	for _, problem := range file.Unnamed(known) {
		p.logger.WarnContext(ctx, "no policy names a value of the users file", "problem", problem)
	}
}

// admitMachines adds the issuer of machines of the class machines, who may do what the
// users file gives them.
func (p *program) admitMachines(base string, people *devPeople) {
	var grants []authn.Grant
	for _, m := range people.machines {
		if m.Class == directory.ClassMachines {
			grants = append(grants, authn.Grant{Where: map[string]string{"sub": m.ID}, Permissions: m.Permissions, Scopes: m.Scopes})
		}
	}
	if grants == nil {
		return
	}
	p.cfg.Issuers = append(p.cfg.Issuers, issuerConfig{
		oidc.Config{Issuer: devidp.MachineIssuer(base), JWKSURL: devidp.KeySet(base)},
		authn.IssuerConfig{
			Class: authn.Machines, Audiences: []string{p.cfg.Server.Authn.Audience}, Grants: grants,
			Algorithms: p.cfg.Server.Authn.Algorithms,
		},
	})
}

// policyValues returns what the policies of the application's methods name.
func (p *program) policyValues() directory.PolicyValues {
	rules := p.applicationRules()
	return directory.PolicyValues{
		Permissions: named(rules, func(r authn.Rule) []string { return r.Permissions }),
		Scopes:      named(rules, func(r authn.Rule) []string { return r.Scopes }),
		ACRValues:   named(rules, func(r authn.Rule) []string { return r.ACRValues }),
	}
}

// admitsMachines reports whether a policy of the application admits machines.
func (p *program) admitsMachines() bool {
	return slices.ContainsFunc(p.applicationRules(), func(r authn.Rule) bool { return slices.Contains(r.Callers, authn.Machines) })
}

// applicationRules returns the policies of the application's methods.
func (p *program) applicationRules() []authn.Rule {
	var descs []*grpc.ServiceDesc
	for _, s := range p.app.Services {
		descs = append(descs, s.desc)
	}
	return p.rules(descs...)
}

// operatorPermissions returns the permissions of the operator's service.
func (p *program) operatorPermissions() []string {
	return named(p.rules(&sessionadminv1.SessionAdminService_ServiceDesc), func(r authn.Rule) []string { return r.Permissions })
}

// rules returns the policies of all methods of services, wherever they run.
func (p *program) rules(descs ...*grpc.ServiceDesc) []authn.Rule {
	served := map[string]grpc.ServiceInfo{}
	for _, desc := range descs {
		var info grpc.ServiceInfo
		for _, m := range desc.Methods {
			info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
		}
		for _, s := range desc.Streams {
			info.Methods = append(info.Methods, grpc.MethodInfo{Name: s.StreamName})
		}
		served[desc.ServiceName] = info
	}
	table := authn.NewTable(p.app.Policies)
	_ = table.Check(served) // the server reports contradictions
	return table.Rules()
}

// named returns the values of rules, each once, in order.
func named(rules []authn.Rule, values func(authn.Rule) []string) (all []string) {
	for _, r := range rules {
		all = append(all, values(r)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
