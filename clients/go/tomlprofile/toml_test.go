package tomlprofile_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tokenseal"
	_ "tokenseal/tomlprofile"
)

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
