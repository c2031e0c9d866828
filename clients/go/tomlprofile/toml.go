// Package tomlprofile gives tokenseal profiles in TOML: import it for its effect.
package tomlprofile

import (
	"github.com/BurntSushi/toml"

	"tokenseal"
)

func init() {
	tokenseal.RegisterTOML(func(text []byte) (map[string]any, error) {
		var parsed map[string]any
		return parsed, toml.Unmarshal(text, &parsed)
	})
}
