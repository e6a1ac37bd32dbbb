// Package deploy tests what installs Gatehouse: chart, compose file, unit of systemd and Dockerfile.
// It is a module of its own, so that Helm and the tools of a release stay out of the library's go.mod.
package deploy
