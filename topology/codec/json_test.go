package codec_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/troupe-stream/troupe/topology/codec"
)

type base struct {
	ID   string `json:"id"`
	Note string // as base has it
}

type address struct {
	City string            `json:"city"`
	Tags map[string]string `json:"tags,omitempty"`
}

type invoice struct {
	base
	Home  *address           `json:"home,omitempty"`
	Ways  []address          `json:"ways,omitempty"`
	By    map[string]address `json:"by,omitempty"`
	Any   any                `json:"any,omitempty"`
	At    time.Time          `json:"at,omitzero"`
	Raw   json.RawMessage    `json:"raw,omitempty"`
	Cents int64              `json:"cents,string,omitempty"`
	Skip  string             `json:"-"`
}

func TestStrictJSON(t *testing.T) {
	t.Parallel()
	strict, lenient := codec.JSONWith[invoice](codec.JSONOptions{Strict: true}), codec.JSON[invoice]()
	for _, x := range []struct{ text, refused string }{
		{text: `{"id":"a","Note":"n","home":{"city":"x","tags":{"a":"1","A":"2"}},"ways":[{"city":"y"}],"by":{"z":{"city":"z"}},"cents":"12"}`},
		{text: ` {"any":{"whatever":[{"b":1}]},"raw":{"q":[1,{}]},"at":"2026-01-02T03:04:05Z"} `},
		{text: `null`},
		{`{"id":"a","color":"red"}`, `codec_test.invoice has no field "color"`},
		{`{"home":{"town":"x"}}`, `codec_test.address has no field "town" in home`},
		{`{"ways":[{"city":"a"},{"Skip":1}]}`, `has no field "Skip" in ways`},
		{`{"by":{"k":{"x":1}}}`, `has no field "x" in by.k`},
		{`{"ID":"a"}`, `has no field "ID", but "id": case counts`},
		{`{"id":"a","id":"b"}`, `the name "id" stands twice`},
		{`{"home":{"tags":{"a":"1","a":"2"}}}`, `the name "a" stands twice in home.tags`},
		{`{"any":{"a":{"b":1,"b":2}}}`, `the name "b" stands twice in any.a`},
		{"{\"id\":\"\xff\"}", "not UTF-8"},
	} {
		v, err := strict.Decode([]byte(x.text))
		if x.refused != "" {
			require.ErrorContains(t, err, x.refused, x.text)
		} else {
			require.NoError(t, err, x.text)
		}
		w, err := lenient.Decode([]byte(x.text))
		require.NoError(t, err, "lenient: %s", x.text)
		if x.refused == "" {
			require.Equal(t, w, v)
		}
	}
	many := `{"by":{`
	for i := range 40 {
		many += fmt.Sprintf(`"k%d":{},`, i)
	}
	_, err := strict.Decode([]byte(many + `"last":{}}}`))
	require.NoError(t, err)
	for _, i := range []int{0, 16, 17, 39} {
		_, err = strict.Decode([]byte(many + fmt.Sprintf(`"k%d":{}}}`, i)))
		require.ErrorContains(t, err, fmt.Sprintf(`the name "k%d" stands twice in by`, i))
	}
	for _, text := range []string{"", "{", `{"id":"a"} {}`, `{"id":"a"}x`, `{"id":1}`, `[]`, `{"home":[]}`, strings.Repeat("[", 20000)} {
		_, err := strict.Decode([]byte(text))
		require.Error(t, err, "%.40s", text)
		_, err = lenient.Decode([]byte(text))
		require.Error(t, err, "%.40s", text)
	}
}

// What strict JSON has written it reads, and what it reads lenient JSON reads as the same.
func TestStrictJSONReadsItsOwn(t *testing.T) {
	t.Parallel()
	text := rapid.StringMatching(`[a-zA-Z<>&"é ]*`)
	addresses := rapid.Custom(func(t *rapid.T) address {
		return address{text.Draw(t, "city"), rapid.MapOfN(text, text, 1, 3).Draw(t, "tags")}
	})
	roundTrip(t, codec.JSONWith[invoice](codec.JSONOptions{Strict: true, ExactNumbers: true}), rapid.Custom(func(t *rapid.T) invoice {
		home := addresses.Draw(t, "home")
		return invoice{
			base: base{text.Draw(t, "id"), text.Draw(t, "note")}, Home: &home, Ways: rapid.SliceOfN(addresses, 1, 3).Draw(t, "ways"),
			By: rapid.MapOfN(text, addresses, 1, 3).Draw(t, "by"), Cents: rapid.Int64().Draw(t, "cents"),
		}
	}))
}

func TestExactNumbers(t *testing.T) {
	t.Parallel()
	const text = `{"any":{"big":9007199254740993,"price":1.10,"huge":123456789012345678901234567890}}`
	exact := codec.JSONWith[invoice](codec.JSONOptions{ExactNumbers: true})
	v, err := exact.Decode([]byte(text))
	require.NoError(t, err)
	require.Equal(t, map[string]any{"big": json.Number("9007199254740993"), "price": json.Number("1.10"), "huge": json.Number("123456789012345678901234567890")}, v.Any)
	b, err := exact.Append(nil, v)
	require.NoError(t, err)
	require.Contains(t, string(b), `"big":9007199254740993`)
	require.Contains(t, string(b), `"price":1.10`)
	_, err = exact.Decode([]byte(text + " 1"))
	require.ErrorContains(t, err, "more behind the JSON value")

	type numbers struct {
		I int64
		N json.Number
	}
	n, err := codec.JSON[numbers]().Decode([]byte(`{"I":9007199254740993,"N":1.10}`))
	require.NoError(t, err)
	require.Equal(t, numbers{9007199254740993, "1.10"}, n)
	_, err = codec.JSON[numbers]().Decode([]byte(`{"I":9223372036854775808}`))
	require.Error(t, err)
}

type card struct {
	Holder string `json:"holder"`
	Number string `json:"number" troupe:"secret"`
	PIN    int    `json:"pin,omitempty" troupe:"secret"`
}

type hidden struct {
	Token string `troupe:"secret"`
}

// sealed writes itself: where its secret stands is not known.
type sealed struct{ card }

func (s sealed) MarshalJSON() ([]byte, error) { return json.Marshal([]string{s.Number}) }

type wallet struct {
	hidden
	Cards  []card          `json:"cards"`
	ByName map[string]card `json:"by_name,omitempty"`
	Main   *card           `json:"main"`
	Any    any             `json:"any"`
	N      int64           `json:"n,string"`
	Sealed *sealed         `json:"sealed,omitempty"`
	At     time.Time       `json:"at,omitzero"`
	All    card            `json:"all" troupe:"secret"`
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	c := card{"Ann", "4111", 99}
	w := wallet{
		hidden: hidden{"tok"}, Cards: []card{c, {Holder: "B<", Number: "x"}}, ByName: map[string]card{"b": c, "a": {}}, Any: map[string]any{"in": &c}, N: 7,
		Sealed: &sealed{c}, At: time.Unix(0, 0).UTC(), All: c,
	}
	for _, x := range []codec.Codec[wallet]{codec.JSON[wallet](), codec.JSONWith[wallet](codec.JSONOptions{Strict: true}), codec.CBOR[wallet](), codec.Compressed(codec.JSON[wallet](), codec.S2)} {
		require.True(t, codec.HoldsSecrets(x))
		text := codec.TextOf(x).Format(w)
		require.JSONEq(t, `{"Token":"***","cards":[{"holder":"Ann","number":"***","pin":"***"},{"holder":"B<","number":"***"}],
			"by_name":{"a":{"holder":"","number":"***"},"b":{"holder":"Ann","number":"***","pin":"***"}},"main":null,
			"any":{"in":{"holder":"Ann","number":"***","pin":"***"}},"n":"7","sealed":"***","at":"1970-01-01T00:00:00Z","all":"***"}`, text)
	}
	b, err := codec.JSON[wallet]().Append(nil, w)
	require.NoError(t, err)
	require.Contains(t, string(b), "4111", "what is written is whole")
	require.Contains(t, string(b), "tok")

	require.Equal(t, `[{"holder":"Ann","number":"***","pin":"***"}]`, codec.TextOf(codec.JSON[any]()).Format([]any{c}), "also behind an interface")
	require.Equal(t, `{"1":{"Token":"***"}}`, codec.TextOf(codec.JSON[map[int]hidden]()).Format(map[int]hidden{1: {"x"}}))
	type broken struct {
		hidden
		F func()
	}
	require.NotContains(t, codec.TextOf(codec.JSON[broken]()).Format(broken{hidden: hidden{"tok"}, F: func() {}}), "tok")
	require.False(t, codec.HoldsSecrets(codec.JSON[invoice]()))

	_, err = codec.TextOf(codec.JSON[wallet]()).Parse(`{"cards":[{"holder":"***","number":"***"}]}`)
	require.ErrorContains(t, err, "*** stands for a secret field")
	v, err := codec.TextOf(codec.JSON[wallet]()).Parse(`{"cards":[{"holder":"***","number":"4"}]}`)
	require.NoError(t, err)
	require.Equal(t, "4", v.Cards[0].Number)
}

// Errors do not quote what is not shown.
func TestErrorsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	type small struct {
		PIN int8 `json:"pin" troupe:"secret"`
	}
	for _, c := range []codec.Codec[small]{codec.JSON[small](), codec.JSONWith[small](codec.JSONOptions{Strict: true}), codec.JSONWith[small](codec.JSONOptions{ExactNumbers: true})} {
		_, err := c.Decode([]byte(`{"pin":4111}`))
		require.ErrorContains(t, err, "pin")
		require.NotContains(t, err.Error(), "4111")
	}
	b, err := codec.CBOR[map[string]int]().Append(nil, map[string]int{"pin": 4111})
	require.NoError(t, err)
	_, err = codec.CBOR[small]().Decode(b)
	require.ErrorContains(t, err, "pin")
	require.NotContains(t, err.Error(), "4111")
}

// Without secrets, the text is what encoding/json writes; and a struct that has some is written by the same rules.
func TestMaskedTextIsJSONElsewhere(t *testing.T) {
	t.Parallel()
	type inner struct {
		A int `json:"a,omitempty"`
		B *int
	}
	type Promoted struct {
		P string
		X int
	}
	type all struct {
		*Promoted
		inner
		Secret string             `troupe:"secret"`
		X      float64            `json:",omitempty"`
		Q      bool               `json:"q,string"`
		S      string             `json:"s,string"`
		Z      struct{ T string } `json:"z,omitzero"`
		M      map[int8]inner     `json:"m"`
		Arr    [2]any             `json:"arr"`
		Bytes  []byte
		Empty  []int
	}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int().Draw(t, "n")
		v := all{
			inner: inner{n, &n}, Secret: "***", X: rapid.Float64Range(-3, 3).Draw(t, "x"), S: rapid.String().Draw(t, "s"), Q: n > 0,
			M: rapid.MapOf(rapid.Int8(), rapid.Just(inner{A: 1})).Draw(t, "m"), Arr: [2]any{n, inner{B: &n}}, Bytes: []byte{1, byte(n)},
		}
		if n%2 == 0 {
			v.Promoted, v.Z.T = &Promoted{"p", 3}, "t"
		}
		want, err := json.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, strings.ToValidUTF8(string(want), ""), strings.ToValidUTF8(codec.TextOf(codec.JSON[all]()).Format(v), ""))
	})
}

func TestTagsThatAreMisspelled(t *testing.T) {
	t.Parallel()
	type typo struct {
		A []struct {
			Token string `troupe:"secert"`
		}
	}
	require.ErrorContains(t, codec.Check(codec.JSON[typo]()), `field Token of struct`)
	require.ErrorContains(t, codec.Check(codec.CBOR[typo]()), `has the tag troupe:"secert": use troupe:"secret", or leave it out`)
	require.NoError(t, codec.Check(codec.JSON[wallet]()))
}
