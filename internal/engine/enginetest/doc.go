// Package enginetest is the suite that every engine passes, and the doubles
// that engines are tested with.
//
// Run drives one engine against one real instance: detection, dump, content
// check, dumps cut short, a killed tool, refusal to overwrite, a restore that
// fails half-way, and the proof by fingerprint that what was dumped comes back.
// It knows nothing of where the instance runs: the engines' own container tests
// give it one from enginetest/dockercli, the end-to-end tests one from the
// Docker provider:
//
//	enginetest.Run(t, enginetest.Fixture{
//		Engine:      postgres.New(),
//		Instance:    provider.Instance(containerID), // engine.Instance
//		Secrets:     []string{password},
//		Seed:        func(t testing.TB) { … },        // fill the database
//		Bulk:        func(t testing.TB) { … },        // add enough that a dump exceeds 64 MiB
//		Fingerprint: func(t testing.TB) string { … }, // row counts and content hashes
//		Wreck:       func(t testing.TB) { … },        // lose all that Seed and Bulk made
//	})
//
// Names that are hard to quote belong in Seed; a database with such a name is a
// second fixture with its own Spec. Fast tests without a container script an
// instance with NewScript.
package enginetest
