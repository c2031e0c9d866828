package tokenseal

import (
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

func TestASealedValueSaysHowItIsStored(t *testing.T) {
	stub, client := startAgent(t, "")
	value := canary
	item := Item{Table: "t", Column: "c", Row: map[string]any{"id": 7}, Value: &value}
	for answer, expected := range map[string]Sealed{
		`{"text": "kms:v2:…", "encryption_key_id": "arn", "encryption_version": 2, "encryption_method": "kms-envelope"}`: {"kms:v2:…", "arn", 2, "kms-envelope"},
		`{"text": "x", "encryption_key_id": null, "encryption_version": 0, "encryption_method": null}`:                   {"x", "", 0, ""},
		`{"text": "", "encryption_key_id": null, "encryption_version": 1, "encryption_method": "direct-aes"}`:            {"", "", 1, "direct-aes"},
	} {
		stub.answer = `{"items": [` + answer + `]}`
		if sealed, err := client.Seal(ctx, item); err != nil || sealed != expected {
			t.Fatal(sealed, err)
		}
	}
	for _, answer := range []string{
		`{"text": "x", "encryption_key_id": null}`,
		`{"text": "x", "encryption_method": "kms-envelope"}`,
		`{"text": "x", "encryption_version": 2}`,
		`{"text": "x", "encryption_version": null, "encryption_method": "kms-envelope"}`,
		`{"encryption_version": 2, "encryption_method": "kms-envelope"}`,
	} {
		stub.answer = `{"items": [` + answer + `]}`
		if sealed, err := client.Seal(ctx, item); !errors.Is(err, ErrAgent) || sealed.Text != "" {
			t.Fatal(answer, sealed, err)
		}
	}
	want := `{"items":[{"table":"t","column":"c","row":{"id":7},"value":"` + canary + `"}]}`
	if got := stub.requests[0].body; got != want {
		t.Fatal(got)
	}
}

func TestTheEmptyTextIsSentAndOpens(t *testing.T) {
	stub, client := startAgent(t, "")
	stub.answer = `{"items": [{"value": ""}]}`
	opened, err := client.Open(ctx, Item{Table: "t", Column: "c", Row: map[string]any{"id": 7}})
	if err != nil || opened != "" {
		t.Fatal(opened, err)
	}
	if want := `{"items":[{"table":"t","column":"c","row":{"id":7},"text":""}]}`; stub.requests[0].body != want {
		t.Fatal(stub.requests[0].body)
	}
}

func TestAnItemThatCannotBeSentSpoilsNoOther(t *testing.T) {
	stub, client := startAgent(t, "")
	stub.answer = `{"items": [{"value": "first"}, {"value": "last"}]}`
	bad := []Item{
		{Text: "\xff"}, {Version: 3}, {Version: true}, {Row: map[string]any{"id": 1.5}}, {Owner: map[string]any{"t": []int{1}}},
		{Value: new(string)},
	}
	results, err := client.OpenMany(ctx, append(append([]Item{{Text: "a"}}, bad...), Item{Text: "b", Version: "2"}))
	if err != nil || results[0].Value != "first" || results[len(results)-1].Value != "last" {
		t.Fatal(results, err)
	}
	for at := range bad {
		if err := results[at+1].Err; !errors.Is(err, ErrTokenseal) || errors.Is(err, ErrAgent) {
			t.Fatal(at, err)
		}
	}
	if !strings.HasSuffix(stub.requests[0].body, `"version":2,"text":"b"}]}`) {
		t.Fatal(stub.requests[0].body)
	}
	if results, err := client.SealMany(ctx, []Item{{}, {Text: "x", Value: new(string)}}); err != nil || results[0].Err == nil || results[1].Err == nil {
		t.Fatal(results, err)
	}
	if len(stub.requests) != 1 {
		t.Fatal("a request without items was sent")
	}
}

func TestKeysAreSentAsTheyAreOrRefused(t *testing.T) {
	stub, client := startAgent(t, "")
	var decoded map[string]any
	if err := json.Unmarshal([]byte(`{"id": 7}`), &decoded); err != nil {
		t.Fatal(err)
	}
	id := int64(math.MaxInt64)
	for want, value := range map[string]any{
		`9223372036854775807`: &id, `"9007199254740993"`: json.Number("9007199254740993"), `"7"`: decoded["id"],
		`"6f9619ff-8b86-d011-b42d-00cf4fc964ff"`: [16]byte{0x6f, 0x96, 0x19, 0xff, 0x8b, 0x86, 0xd0, 0x11, 0xb4, 0x2d, 0, 0xcf, 0x4f, 0xc9, 0x64, 0xff},
		`"1.50"`:                                 FromDatabase("1.50"), `"bytes"`: []byte("bytes"), `"name"`: sql.NullString{String: "name", Valid: true},
		`null`: sql.NullString{},
	} {
		if _, err := client.Get(ctx, RowKey{Row: map[string]any{"id": value}}); err != nil {
			t.Fatal(want, err)
		}
		if got := stub.requests[len(stub.requests)-1].body; got != `{"row":{"id":`+want+`}}` {
			t.Fatal(got, want)
		}
	}
	var rounded map[string]any
	if err := json.Unmarshal([]byte(`{"id": 9007199254740993}`), &rounded); err != nil {
		t.Fatal(err)
	}
	sent := len(stub.requests)
	for _, value := range []any{
		rounded["id"], 1.5, math.NaN(), math.Inf(1), true, time.Now(), uint64(math.MaxUint64), "\xff", []int{1}, struct{}{},
	} {
		key := RowKey{Row: map[string]any{"id": value}}
		_, get := client.Get(ctx, key)
		_, put := client.Put(ctx, Put{RowKey: key, Tokens: map[string]*string{}})
		_, fresh := client.Fresh(ctx, key, 60)
		_, _, lease := client.Lease(ctx, key, 5)
		for _, err := range []error{get, put, fresh, lease, client.Delete(ctx, key, ""), client.Release(ctx, key, "l")} {
			if !errors.Is(err, ErrRefused) {
				t.Fatal(value, err)
			}
		}
	}
	bad := canary + "\xff"
	_, token := client.Put(ctx, Put{Tokens: map[string]*string{"a": &bad}})
	_, plain := client.Put(ctx, Put{Plain: map[string]any{"a": rounded["id"]}})
	_, found := client.Find(ctx, "", "email", bad)
	for _, err := range []error{token, plain, found} {
		if !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), canary) {
			t.Fatal(err)
		}
	}
	if len(stub.requests) != sent {
		t.Fatal("a refused value was sent")
	}
}

func TestPlainValuesAreSentInOneSpelling(t *testing.T) {
	stub, client := startAgent(t, "")
	plain := map[string]any{
		"a": []byte("bytes"), "b": sql.NullInt64{}, "c": true, "d": time.Unix(0, 0).UTC(), "e": sql.NullTime{Time: time.Unix(0, 0).UTC(), Valid: true}, "f": 7,
	}
	if _, err := client.Put(ctx, Put{RowKey: RowKey{Row: map[string]any{"id": 7}}, Plain: plain}); err != nil {
		t.Fatal(err)
	}
	want := `{"row":{"id":7},"tokens":null,"plain":{"a":"bytes","b":null,"c":true,"d":"1970-01-01T00:00:00Z","e":"1970-01-01T00:00:00Z","f":7}}`
	if stub.requests[0].body != want {
		t.Fatal(stub.requests[0].body)
	}
}
