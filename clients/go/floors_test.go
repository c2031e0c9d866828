package tokenseal

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func readShared(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "shared", name))
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheFloorDecidesWhichFormsOpenInEveryLanguage(t *testing.T) {
	var table struct {
		Forms    []string
		Settings []struct {
			Floor, Binding, Plaintext string
			Opens                     []string
		}
	}
	readShared(t, "floors.json", &table)
	kms, raw := &memoryKMS{}, make([]byte, 32)
	rand.Read(raw)
	key := base64.StdEncoding.EncodeToString(raw)
	sealed := func(config Config) string {
		made, err := sealer(t, kms, config).Seal(ctx, canary, vodCell())
		if err != nil {
			t.Fatal(err)
		}
		return made.Text
	}
	direct, err := sealV2(raw, []byte("-"), []byte(canary))
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := parseV2(direct)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{
		"v3": sealed(Config{EnvelopeFormat: "v3"}), "v2-bound": sealed(Config{}), "v2-unbound": sealed(Config{Binding: "off"}),
		"direct": base64.StdEncoding.EncodeToString(envelope.sealed), "plaintext": canary,
	}
	versions := map[string]any{"v3": 2, "v2-bound": 2, "v2-unbound": 2, "direct": 1, "plaintext": 0}
	pulseplan, err := LoadProfile("pulseplan")
	if err != nil {
		t.Fatal(err)
	}
	id := "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
	legacy := func(context.Context, string, LegacyCell) (string, error) { return canary, nil }
	for _, each := range table.Settings {
		config := Config{Floor: each.Floor, Binding: each.Binding, PlaintextPolicy: each.Plaintext, EncryptionKey: key, Legacy: legacy}
		for _, form := range table.Forms {
			cell, text := vodCell(), texts[form]
			cell.Version = versions[form]
			made := sealer(t, kms, config)
			if form == "legacy" {
				config.Profile = pulseplan
				made = sealer(t, kms, config)
				config.Profile = nil
				cell = Cell{Table: "oauth_tokens", Column: "access_token", Row: map[string]any{"id": id}, Owner: map[string]any{"user_id": id}}
				text = "00000000000000000000000000000000:00000000000000000000000000000000:00"
			}
			opened, err := made.Open(ctx, text, cell)
			if slices.Contains(each.Opens, form) {
				if err != nil || opened != canary {
					t.Fatal(each, form, err)
				}
			} else if !errors.Is(err, ErrRefused) || opened != "" {
				t.Fatal(each, form, opened, err)
			}
		}
	}
}

func TestDurationsAreSpelledAsInThePrograms(t *testing.T) {
	var table struct {
		Spans map[string]*int64
	}
	readShared(t, "durations.json", &table)
	for text, milliseconds := range table.Spans {
		t.Setenv("DEK_CACHE_TTL", text)
		ttl, err := cacheTTL(0)
		switch {
		case milliseconds == nil && !errors.Is(err, ErrConfiguration):
			t.Fatal(text, ttl)
		case milliseconds != nil && (err != nil || ttl != time.Duration(*milliseconds)*time.Millisecond):
			t.Fatal(text, ttl, err)
		}
	}
}
