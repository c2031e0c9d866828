// Package tomlprofile gives tokenseal profiles in TOML: import it for its effect.
package tomlprofile

import (
	"regexp"
	"strings"

	"github.com/BurntSushi/toml"

	"tokenseal"
)

var (
	// Comments and texts, so that no part of one is taken for the beginning of another.
	token = regexp.MustCompile(`(?s)#[^\n]*|"""(?:\\.|[^\\])*?"""|'''.*?'''|"(?:\\.|[^"\\\n])*"|'[^'\n]*'`)
	// What a backslash folds or escapes, or a line break.
	escapeOrBreak = regexp.MustCompile(`(?s)\\[ \t]*\r?\n[ \t\r\n]*|\\.|\r\n`)
)

func init() {
	tokenseal.RegisterTOML(func(text []byte) (map[string]any, error) {
		var parsed map[string]any
		_, err := toml.Decode(token.ReplaceAllStringFunc(string(text), keepBreaks), &parsed)
		return parsed, err
	})
}

// keepBreaks escapes the CR of each line that ends in CRLF within a text, which the parser leaves out of some texts and the
// programs out of none: a value that is bound to its context would be bound to another one.
func keepBreaks(found string) string {
	if !strings.HasPrefix(found, `"""`) {
		return found
	}
	begin := `"""`
	body := strings.TrimSuffix(strings.TrimPrefix(found, begin), `"""`)
	if rest, isBreak := strings.CutPrefix(body, "\r\n"); isBreak {
		begin, body = begin+"\n", rest
	}
	body = escapeOrBreak.ReplaceAllStringFunc(body, func(part string) string {
		switch {
		case part == "\r\n":
			return "\\r\n"
		case strings.Contains(part, "\n"):
			return "\\\n"
		}
		return part
	})
	return begin + body + `"""`
}
