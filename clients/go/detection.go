package tokenseal

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
)

type form int

const (
	formPlaintext form = iota
	formEnvelope
	// formOther is a form that this client does not open.
	formOther
	formDirect
)

var (
	localText = regexp.MustCompile(`^(v[1-9][0-9]*:)?[0-9a-f]{32}:[0-9a-f]{32}:([0-9a-f]{2})+$`)
	localMark = regexp.MustCompile(`^(v[0-9+-]+:|[0-9a-fA-F]{32}:|[0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+$)`)

	pulseplanFields = []string{"ciphertext", "algorithm", "encryption_context", "key_id", "encrypted_at"}
	nodeFields      = []string{"alg", "keyId", "iv", "tag", "aad", "timestamp", "ciphertext"}
)

// detect says what a text claims to be by its mark (docs/formats.md). A text that carries a mark, or a damaged one, and
// is not well-formed is [ErrMalformed].
func detect(text string) (form, error) {
	trimmed := strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff' })
	if trimmed != text && (claim(trimmed) != formPlaintext || isDamaged(trimmed)) {
		return 0, malformed("white space or control characters surround an envelope")
	}
	claimed := claim(text)
	switch {
	case claimed == formEnvelope && strings.HasPrefix(text, v3Mark):
		_, err := parseV3(text)
		return claimed, err
	case claimed == formEnvelope:
		_, err := parseV2(text)
		return claimed, err
	case claimed == formOther && !isWellFormed(text):
		return 0, malformed("the text carries the mark of a stored format and does not parse")
	case claimed == formPlaintext && isDamaged(text):
		return 0, malformed("the text is an envelope but for a damaged mark")
	}
	return claimed, nil
}

func claim(text string) form {
	switch {
	case isEnvelope(text):
		return formEnvelope
	case len(text) >= 4 && strings.EqualFold(text[:4], "kms:"),
		strings.HasPrefix(text, "djF8"), strings.HasPrefix(text, "ZGV2f"), localMark.MatchString(text):
		return formOther
	case strings.HasPrefix(text, "{") && jsonClaims(text):
		return formOther
	}
	return formPlaintext
}

func jsonClaims(text string) bool {
	names, ok := fieldNames(text)
	if !ok {
		return true
	}
	has := func(wanted ...string) bool { return count(names, wanted) == len(wanted) }
	return has("ciphertext", "algorithm") || has("ciphertext", "encryption_context") ||
		count(names, pulseplanFields) >= 3 || has("alg", "keyId") || has("iv", "tag", "ciphertext") ||
		count(names, nodeFields) >= 4
}

func count(names map[string]json.RawMessage, known []string) int {
	found := 0
	for _, name := range known {
		if _, ok := names[name]; ok {
			found++
		}
	}
	return found
}

func fieldNames(text string) (map[string]json.RawMessage, bool) {
	var names map[string]json.RawMessage
	err := json.Unmarshal([]byte(text), &names)
	return names, err == nil && names != nil
}

func isWellFormed(text string) bool {
	switch {
	case strings.HasPrefix(text, "djF8"):
		return hasInnerParts(text, "v1|", 4)
	case strings.HasPrefix(text, "ZGV2f"):
		return hasInnerParts(text, "dev|gAAAA", 2)
	case localMark.MatchString(text):
		return localText.MatchString(text)
	}
	names, ok := fieldNames(strings.TrimPrefix(text, "kms:"))
	return ok && (count(names, pulseplanFields) == 5 && len(names) == 5 ||
		count(names, append([]string{"v"}, nodeFields...)) == 8 && len(names) == 8)
}

func hasInnerParts(text, start string, parts int) bool {
	inner, err := decodeBase64(base64.StdEncoding, text)
	return err == nil && strings.HasPrefix(string(inner), start) && strings.Count(string(inner), "|") == parts-1
}

// isDamaged: one wrong byte in the mark of an envelope. To call such a text plaintext would hand out a ciphertext.
func isDamaged(text string) bool {
	for _, mark := range []string{v2Mark, v3Mark, `kms:{"`, twiceMark} {
		differences := 0
		for at := 0; at < len(mark) && len(text) >= len(mark); at++ {
			if text[at] != mark[at] {
				differences++
			}
		}
		if differences == 1 {
			return true
		}
	}
	return false
}
