package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// example runs the commands of an example's README, all in one data directory.
func example(t *testing.T, name string) (run func(args ...string) string, file func(topic, name string) []string) {
	t.Helper()
	at := []string{"--topology", name, "--data-dir", t.TempDir()}
	run = func(args ...string) string {
		t.Helper()
		code, out, errs := node(t, slices.Concat(at, args)...)
		require.Zero(t, code, errs)
		return out
	}
	file = func(topic, file string) []string {
		return []string{"--feed", topic + "=" + filepath.Join("..", "..", "examples", name, file)}
	}
	return run, file
}

func sorted(out string) []string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return lines
}

func TestEnrich(t *testing.T) {
	t.Parallel()
	run, file := example(t, "enrich")
	run(slices.Concat([]string{"--feed-keyed", "--drain"}, file("item-updates", "items.tsv"), file("rate-updates", "rates.tsv"))...)
	run(slices.Concat([]string{"--feed-keyed", "--drain"}, file("sales", "sales.tsv"))...)
	require.Equal(t, []string{
		`horse	{"customer":"alan","item":"","count":1,"currency":"EUR","amount":0,"missing":"nobody knows the goods"}`,
		`ink	{"customer":"grace","item":"Blue ink","count":4,"currency":"USD","amount":16.25}`,
		`ink	{"customer":"konrad","item":"Blue ink","count":1,"currency":"DEM","amount":0,"missing":"nobody knows the rate"}`,
		`paper	{"customer":"alan","item":"Paper, 500 sheets","count":2,"currency":"EUR","amount":15}`,
		`pen	{"customer":"ada","item":"Fountain pen","count":1,"currency":"GBP","amount":42}`,
	}, sorted(run("tail", "invoices", "--once")))
}

func TestInventory(t *testing.T) {
	t.Parallel()
	run, file := example(t, "inventory")
	run(slices.Concat([]string{"--feed-keyed", "--drain"}, file("stock", "stock.tsv"), file("orders", "orders.tsv"))...)
	require.Equal(t, []string{
		`horse	{"on_hand":1,"least":0,"reserved":2}`,
		`ink	{"on_hand":40,"least":10,"reserved":38}`,
		`paper	{"on_hand":200,"least":50,"reserved":20}`,
		`pen	{"on_hand":5,"least":2,"reserved":2}`,
	}, sorted(run("scan", "levels", "--format", "tsv")))
	require.Equal(t, []string{`horse	{"free":-1,"short":true}`, `ink	{"free":2,"short":true}`}, sorted(run("tail", "shortages", "--once")))
}

func TestChat(t *testing.T) {
	t.Parallel()
	run, file := example(t, "chat")
	run(slices.Concat([]string{"--feed-keyed", "--drain"}, file("moves", "moves.tsv"))...)
	require.Equal(t, []string{"attic\tada", "kitchen\tada", "kitchen\tgrace"}, sorted(run("scan", "members", "--format", "tsv")))
	require.Equal(t, "ada\t[{\"room\":\"kitchen\",\"from\":\"grace\",\"text\":\"Is there tea?\"}]\n", run("scan", "unread", "--format", "tsv"))
}

func TestSensor(t *testing.T) {
	t.Parallel()
	run, file := example(t, "sensor")
	run(slices.Concat([]string{"--feed-keyed", "--drain"}, file("sensors", "sensors.tsv"))...)
	run(slices.Concat([]string{"--feed-keyed", "--drain"}, file("readings", "readings.tsv"))...)
	require.Equal(t, []string{
		`cellar	{"place":"beside the wine","celsius":14.5}`, `kitchen	{"place":"over the stove","celsius":71.5}`,
	}, sorted(run("tail", "alarms", "--once")))
}

func TestFraud(t *testing.T) {
	t.Parallel()
	run, file := example(t, "fraud")
	run(slices.Concat([]string{"--feed-keyed", "--drain"}, file("payments", "payments.tsv"))...)
	require.Equal(t, []string{
		`0815	{"id":"p-4","amount":80,"country":"FR","ok":true}`,
		`1234	{"id":"p-6","amount":9,"country":"DE","ok":true}`,
		`4711	{"id":"p-1","amount":35,"country":"DE","ok":true}`,
		`4711	{"id":"p-3","amount":12,"country":"DE","ok":false,"why":"another payment waits to be confirmed"}`,
	}, sorted(run("tail", "verdicts", "--once")))
	require.Contains(t, run("scan", "holds", "--format", "tsv"), `{"id":"p-2","amount":2500,"country":"DE"}`)
	require.Contains(t, run("tail", "cases", "--once"), `"p-3"`)
}
