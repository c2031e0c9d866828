package tomlprofile_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenseal"
	_ "tokenseal/tomlprofile"
)

func TestALineBreakInATextStaysAsItIsInTheFile(t *testing.T) {
	lines := []string{
		`# don't "worry`, `name = "it's"`, "[context]", `A = """`, "customer", `tokens"""`, "B = '''", "x", "y'''", `C = """a \  `, "", `  b"""`,
		"D = '''it''' # '''", `E = """\\`, `x"""`, "[[tables]]", `name = "users"`, `key = ["id"]`, `tokens = ["a"]`, "",
	}
	for _, end := range []string{"\n", "\r\n"} {
		path := filepath.Join(t.TempDir(), "profile.toml")
		if err := os.WriteFile(path, []byte("\ufeff"+strings.Join(lines, end)), 0o600); err != nil {
			t.Fatal(err)
		}
		profile, err := tokenseal.LoadProfile(path)
		if err != nil {
			t.Fatal(err)
		}
		expected := map[string]string{
			"A": "customer" + end + "tokens", "B": "x" + end + "y", "C": "a b", "D": "it", "E": `\` + end + "x",
		}
		if context := profile.Context(); !maps.Equal(context, expected) {
			t.Fatalf("%q", context)
		}
	}
}

func TestAProfileInTOMLIsReadAsItIs(t *testing.T) {
	for _, name := range []string{"vod-tender", "pulseplan", "autonomous"} {
		path := filepath.Join("..", "..", "..", "crates", "token-store", "profiles", name+".toml")
		if profile, err := tokenseal.LoadProfile(path); err != nil || profile.Name() != name {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "broken.toml")
	for _, text := range []string{"a", "name = 5", "secret"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tokenseal.LoadProfile(path); !errors.Is(err, tokenseal.ErrConfiguration) {
			t.Fatal(err)
		}
	}
}
