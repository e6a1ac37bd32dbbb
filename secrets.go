package gatehouse

import (
	"context"
	"slices"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

// secretTimeout bounds the calls of the session store for new secrets.
const secretTimeout = 5 * time.Second

// watchSecrets makes the process follow the files of its secrets.
func (p *parts) watchSecrets(ctx context.Context) {
	if p.development { // it has secrets of its own
		return
	}
	p.client = p.cfg.BFF.Client
	for _, file := range p.values.SecretFiles() {
		if textfile.IsPipe(file.Path) { // what was in it has been read
			continue
		}
		p.security.Files.Watch(file.Variable, file.Path, func(content []byte) (bool, error) {
			items, err := file.Decode(content)
			if err != nil || slices.Equal(items, file.Items) {
				return false, err
			}
			used, err := p.useSecret(ctx, file, items)
			if err == nil {
				file.Items = items
			}
			return used, err
		})
	}
}

// useSecret replaces a secret. It reports false for one that can only be replaced by
// a restart.
func (p *parts) useSecret(ctx context.Context, file settings.SecretFile, items []string) (bool, error) {
	if used, err := p.useIntrospectionSecret(file.Name, items[0]); used || err != nil {
		return used, err
	}
	client := p.client
	switch {
	case p.bff == nil:
	case file.Name == "secret":
		bounded, cancel := context.WithTimeout(ctx, secretTimeout)
		defer cancel()
		return true, p.bff.SetSecrets(bounded, settings.WithTidied(items))
	case file.Name == "oidc-client-secret":
		client.Secret = items[0]
	case file.Name == "oidc-client-key":
		client.Key = items[0]
	}
	if client == p.client {
		p.logger.WarnContext(ctx, "changed file takes effect after a restart", "setting", file.Variable)
		return false, nil
	}
	if err := p.bff.SetClientCredential(client.Secret, client.Key); err != nil {
		return false, err
	}
	p.client = client
	return true, nil
}
