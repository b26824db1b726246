// Package chaos breaks relay, and everything around it, on purpose, and then asks the
// ledger what became of each message. Relay runs as the built program in a process of
// its own, and so do nats-server and Postgres; only the receivers live in the test.
//
//	go test .                                  the short form, as make test runs it
//	CHAOS_RUN=all go test -v -timeout 0 .      every scenario
//	CHAOS_RUN=nats-kill CHAOS_SEED=7 go test . one scenario again
//
// CHAOS_RUN names scenarios, separated by commas, or all. CHAOS_SEED is the seed of
// the first run, by default one that differs each time and is printed. CHAOS_SEEDS is
// how many runs each scenario gets, with one seed after the other; it defaults to 1.
// CHAOS_SOAK is how long the scenario soak goes on; it defaults to a minute.
// CHAOS_RECORD, when it is set, has the results written into docs/reliability.md.
// CHAOS_SOURCE is the folder of the relay that is built and tried; it defaults to the
// one around this package.
//
// A seed decides messages, answers, and the faults with their moments. It does not
// decide how the processes of two runs interleave.
package chaos
