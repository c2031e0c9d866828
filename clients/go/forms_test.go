package tokenseal

import (
	"context"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

func words(t *testing.T, unmarked string) *Sealer {
	t.Helper()
	table := map[string]any{"name": "words", "key": []any{"id"}, "tokens": []any{"token"}}
	described := map[string]any{"name": "words", "context": map[string]any{"Application": "words"}, "tables": []any{table}}
	if unmarked != "" {
		described["unmarked"] = unmarked
	}
	legacy := func(_ context.Context, text string, _ LegacyCell) (string, error) { return "legacy " + text, nil }
	return sealer(t, &memoryKMS{}, Config{Profile: profile(t, described), Legacy: legacy})
}

func wordsCell(id string, version any) Cell {
	return Cell{Table: "words", Column: "token", Row: map[string]any{"id": id}, Version: version}
}

func TestATextIsTakenForTheSameInEveryLanguage(t *testing.T) {
	var forms struct {
		Deep  string
		Texts []struct {
			Text, Unmarked string
			Version0       string `json:"version_0"`
		}
	}
	readShared(t, "forms.json", &forms)
	if len(forms.Texts) < 40 {
		t.Fatal(len(forms.Texts))
	}
	made, vod := words(t, ""), sealer(t, &memoryKMS{}, Config{})
	for _, each := range forms.Texts {
		check := func(made *Sealer, cell Cell, expected string) {
			t.Helper()
			opened, err := made.Open(ctx, each.Text, cell)
			if opened != expected || expected == "" && !errors.Is(err, ErrMalformed) {
				t.Errorf("%q %v: %q %v", each.Text, cell.Version, opened, err)
			}
		}
		if each.Unmarked == "refused" {
			check(made, wordsCell("a", nil), "")
		} else {
			check(made, wordsCell("a", nil), "legacy "+each.Text)
		}
		where := map[bool]string{true: each.Text}
		check(made, wordsCell("a", 0), where[each.Unmarked == "plaintext"])
		row := vodCell()
		row.Version = 0
		check(vod, row, where[each.Version0 == "plaintext"])
	}
	if _, err := made.Open(ctx, forms.Deep, wordsCell("a", 0)); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
}

func TestAVersionMustBeThatOfTheTextInATableWithoutVersionColumns(t *testing.T) {
	made := words(t, "")
	sealed, err := made.Seal(ctx, "value", wordsCell("a", nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []any{2, "2", int64(2)} {
		if opened, err := made.Open(ctx, sealed.Text, wordsCell("a", version)); opened != "value" {
			t.Fatal(err)
		}
	}
	for version, text := range map[any]string{0: sealed.Text, 1: sealed.Text, Null: sealed.Text, "1": "plain", "2": "plain", 7: "plain"} {
		if _, err := made.Open(ctx, text, wordsCell("a", version)); !errors.Is(err, ErrMalformed) {
			t.Fatal(version, err)
		}
	}
	direct := words(t, "direct-aes")
	if _, err := direct.Open(ctx, "plain", wordsCell("a", 0)); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	if _, err := direct.Open(ctx, "plain", wordsCell("a", 1)); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
}

func TestAKeyThatMayHaveTwoSpellingsIsRefused(t *testing.T) {
	made := words(t, "")
	keys := []string{strings.Repeat("9", 19), strings.Repeat("0", 40), "-9223372036854775809"}
	for _, space := range "\t\n\v\f\r\x1c\x1d\x1e\x1f \u0085\u00a0\u1680\u2000\u2005\u200a\u2028\u2029\u202f\u205f\u3000\ufeff" {
		keys = append(keys, "a"+string(space))
	}
	for _, key := range keys {
		if _, err := made.Seal(ctx, "v", wordsCell(key, nil)); !errors.Is(err, ErrRefused) {
			t.Fatalf("%q %v", key, err)
		}
	}
	for declared, value := range map[string]any{"text(10)": "a", "text": [16]byte{}} {
		if _, err := canonicalText("id", declared, value); !errors.Is(err, ErrRefused) {
			t.Fatal(declared, err)
		}
	}
}

type valuer struct{ value any }

func (v valuer) Value() (driver.Value, error) { return v.value, nil }

// textID is as libraries have UUIDs: an array whose value for a database is text.
type textID [16]byte

func (t textID) Value() (driver.Value, error) { return hyphenated(hex.EncodeToString(t[:])), nil }

func TestAnArrayIsNoTextHoweverItIsReached(t *testing.T) {
	id := [16]byte{0x6f, 0x96}
	pointer := &id
	for _, value := range []any{id, pointer, &pointer, valuer{id}, &valuer{pointer}, textID(id), (*textID)(pointer)} {
		if text, err := canonicalText("id", "text", value); !errors.Is(err, ErrRefused) {
			t.Fatalf("%T %s %v", value, text, err)
		}
		if text, err := canonicalText("id", "uuid", value); err != nil || text != "6f960000-0000-0000-0000-000000000000" {
			t.Fatalf("%T %s %v", value, text, err)
		}
		if text, ok := storedText(value); ok {
			t.Fatalf("%T %s", value, text)
		}
	}
	if text, ok := storedText((*[16]byte)(nil)); !ok || text != "" {
		t.Fatal(text)
	}
}
