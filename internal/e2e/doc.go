// Package e2e holds tests that drive the built binary as a user would: its
// command line, its socket and its pages, against real databases in containers.
// Nothing of the program is called directly.
//
// Every test that needs containers skips itself unless BAKTAINER_E2E=1; `make
// test` makes the sample images and sets it. BAKTAINER_E2E_LONG=1 asks for the
// long form of tests that have one. Containers carry the label
// io.github.baktainer.test and a name of their own, so that tests may run
// beside each other and beside whatever else the host runs.
package e2e
