// Package gatehousetest owns how the tests of an application start it: the whole program, as the
// command dev runs it, in the process of the test, on ports that the system chooses, with stores in
// memory and users who sign in without a page. It leaves what the application does to its tests,
// and tests of pages to a browser, which [System.SignInURL] and [System.Cookies] sign in.
//
//	func TestNotes(t *testing.T) {
//		t.Parallel()
//		app := gatehousetest.Start(t, notes.App())
//		editor := app.SignIn(t, "editor")
//		resp, err := editor.Get("/api/notes")
//		…
//	}
//
// Each system has everything of its own, so that tests run in parallel. Nothing of the developer's
// machine reaches it: neither variables of the environment nor a file .env.
//
// # Time
//
// All parts and the provider have one [Clock], which a test can advance. Sessions, tokens and
// sign-ins then are as old as if that time had passed. These follow real time:
//
//   - Work that is due at intervals, such as the removal of expired sessions and the next fetch of
//     the provider's keys, is not done earlier.
//   - Open streams notice within a second that their session or their token has ended.
//   - Timeouts of requests and connections, and the delays of ProviderSlow and StoreSlow.
//   - Sessions in Redis, if the setting session-store names one.
package gatehousetest
