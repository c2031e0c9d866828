package tokenseal

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxContextLen is the longest canonical encoding of a context or a binding, in bytes.
const maxContextLen = 8_192

// decodeBase64 decodes the one spelling of standard base64 with padding, or of base64url without.
func decodeBase64(encoding *base64.Encoding, text string) ([]byte, error) {
	decoded, err := encoding.DecodeString(text)
	// Go passes over line breaks, so only the text that the bytes encode to is taken.
	if err != nil || encoding.EncodeToString(decoded) != text {
		return nil, malformed("base64 is not canonical")
	}
	return decoded, nil
}

func appendText(out []byte, text, what string) ([]byte, error) {
	if !utf8.ValidString(text) {
		return nil, refused(what + " is not UTF-8 text")
	}
	if len(text) > maxContextLen {
		return nil, refused(fmt.Sprintf("%s is over %d bytes long", what, maxContextLen))
	}
	return append(binary.BigEndian.AppendUint16(out, uint16(len(text))), text...), nil
}

type pair struct{ name, value string }

// appendPairs appends `u16 count || name || value || …`, ordered by the names' bytes.
func appendPairs(out []byte, pairs []pair) ([]byte, error) {
	ordered := slices.Clone(pairs)
	slices.SortFunc(ordered, func(one, other pair) int { return strings.Compare(one.name, other.name) })
	if len(ordered) > maxContextLen {
		return nil, refused("the row's identity or the context has too many pairs")
	}
	out = binary.BigEndian.AppendUint16(out, uint16(len(ordered)))
	for at, each := range ordered {
		if each.name == "" {
			return nil, refused("the row's identity or the context has a pair without a name")
		}
		if at > 0 && ordered[at-1].name == each.name {
			return nil, refused(fmt.Sprintf("the row's identity or the context names %q twice", each.name))
		}
		var err error
		if out, err = appendText(out, each.name, "a column's name"); err == nil {
			out, err = appendText(out, each.value, fmt.Sprintf("the value of %q", each.name))
		}
		if err != nil {
			return nil, err
		}
	}
	return bounded(out)
}

func bounded(encoded []byte) ([]byte, error) {
	if len(encoded) > maxContextLen {
		return nil, refused(fmt.Sprintf("the row's identity or the context is over %d bytes long", maxContextLen))
	}
	return encoded, nil
}

func openedText(plaintext []byte) (string, error) {
	if !utf8.Valid(plaintext) {
		return "", malformed("opened value is not UTF-8 text")
	}
	return string(plaintext), nil
}
