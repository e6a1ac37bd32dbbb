package authn

import "testing"

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, value string
		want           bool
	}{
		{"octo/shop", "octo/shop", true},
		{"octo/shop", "octo/shop2", false},
		{"octo/shop", "octo/Shop", false},
		{"octo/shop", "", false},
		{"repo:octo/*", "repo:octo/shop:ref:refs/heads/main", true},
		{"repo:octo/*", "repo:octo-evil/shop:ref:refs/heads/main", false},
		{"repo:octo/*", "repo:octo/", false},
		{"repo:octo/*", "repo:octo", false},
		{"repo:octo/*", "xrepo:octo/shop", false},
		{"repo:octo/shop:*", "repo:octo/shop-evil:ref:refs/heads/main", false},
		{"repo:octo/shop:ref:refs/tags/*", "repo:octo/shop:ref:refs/tags/v1/rc", true},
		{"repo:octo/*:environment:prod", "repo:octo/shop:environment:prod", true},
		{"repo:octo/*:environment:prod", "repo:octo/shop:environment:prod2", false},
		// An environment may have any name, also one that looks like the rest of another sub.
		{"repo:*/shop:ref:refs/heads/main", "repo:evil/x:environment:/shop:ref:refs/heads/main", false},
		{"repo:*/shop:ref:refs/heads/main", "repo:/shop:ref:refs/heads/main", false},
		{"repo:*/shop:ref:refs/heads/main", "repo:octo/shop:ref:refs/heads/main", true},
		{"*:serviceaccount:shop:*", "system:serviceaccount:shop:worker", true},
		{"*:serviceaccount:shop:*", "system:serviceaccount:shop-evil:worker", false},
		{"system:serviceaccount:shop:*", "system:serviceaccount:shop:", false},
		{"a:*:b", "a:*:b", true},
		{"a:*:b", "a::b", false},
		{"a:*:b", "a:x", false},
	} {
		if problem := patternProblem(tt.pattern); problem != "" {
			t.Errorf("patternProblem(%q) = %q, want none", tt.pattern, problem)
		}
		if got := matchPattern(tt.pattern, tt.value); got != tt.want {
			t.Errorf("matchPattern(%q, %q) = %v, want %v", tt.pattern, tt.value, got, tt.want)
		}
	}
	for _, pattern := range []string{"", "*", "**", "*:*", "*/*", "repo:octo*", "*-evil", "repo:octo/*x", "a**", "a:**"} {
		if patternProblem(pattern) == "" {
			t.Errorf("patternProblem(%q) = none, want one", pattern)
		}
	}
}

func FuzzPatterns(f *testing.F) {
	f.Add("repo:octo/*", "repo:octo/shop")
	f.Fuzz(func(t *testing.T, pattern, value string) {
		if patternProblem(pattern) != "" {
			return
		}
		if matchPattern(pattern, value) && value == "" {
			t.Errorf("matchPattern(%q, %q) = true", pattern, value)
		}
	})
}
