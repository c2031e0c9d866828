package tokenseal

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

type form int

const (
	formPlaintext form = iota
	formEnvelope
	// formOther is a form that this client does not open.
	formOther
	formDirect
)

// maxDepth: deeper nesting is a text that some languages' parsers read and others do not: all clients refuse it.
const maxDepth = 128

var (
	localText = regexp.MustCompile(`^(v[1-9][0-9]*:)?[0-9a-f]{32}:[0-9a-f]{32}:([0-9a-f]{2})+$`)
	localMark = regexp.MustCompile(`^(v[0-9+-]+:|[0-9a-fA-F]{32}:|[0-9a-fA-F]+:[0-9a-fA-F]+:[0-9a-fA-F]+$)`)

	damagedLocal = regexp.MustCompile(`[0-9a-fA-F]{32}:[0-9a-fA-F]+$`)
	// As many characters of an alphabet of base64 as no text has by accident.
	encodedText  = regexp.MustCompile(`[A-Za-z0-9+/=_-]{24}`)
	beginning    = regexp.MustCompile(`^[kK][mM][sS]:`)
	namedVersion = regexp.MustCompile(`^[^:]*:[vV][0-9]+(:|$)`)
	stringText   = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*"`)
	bracketText  = regexp.MustCompile(`[\[\]{}]`)

	pulseplanFields = []string{"ciphertext", "algorithm", "encryption_context", "key_id", "encrypted_at"}
	nodeFields      = []string{"alg", "keyId", "iv", "tag", "aad", "timestamp", "ciphertext"}
)

// detect says what a text claims to be by its mark (docs/formats.md). A text that carries a mark, or a damaged one, and
// is not well-formed is [ErrMalformed].
func detect(text string) (form, error) {
	bare := trimmed(text)
	if bare != text && (claim(bare) != formPlaintext || isDamaged(bare)) {
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

func trimmed(text string) string {
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff' })
}

// isBrokenEnvelope: whether a text with the mark of an envelope was one: then it is damaged, and no token that begins like one.
func isBrokenEnvelope(text string) bool { return isEnvelope(text) && encodedText.MatchString(text) }

// onlyBeginsLikeOne: whether a text is a token that begins with `kms:`: nothing in it was an envelope, and it names no version.
func onlyBeginsLikeOne(text string) bool {
	isMarked := strings.HasPrefix(text, v2Mark) || strings.HasPrefix(text, v3Mark) || strings.HasPrefix(text, "kms:{")
	isWords := !encodedText.MatchString(text) && !namedVersion.MatchString(text)
	return beginning.MatchString(text) && !isMarked && isWords && trimmed(text) == text
}

func claim(text string) form {
	switch {
	case isEnvelope(text):
		return formEnvelope
	case beginning.MatchString(text),
		strings.HasPrefix(text, "djF8"), strings.HasPrefix(text, "ZGV2f"), localMark.MatchString(text):
		return formOther
	case strings.HasPrefix(text, "{"):
		if names, ok := fieldNames(text); !ok || fieldsClaim(names) {
			return formOther
		}
	}
	return formPlaintext
}

func fieldsClaim(names map[string]json.RawMessage) bool {
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

// fieldNames are the names in a JSON object; none for any other text, and for one that is nested too deeply.
func fieldNames(text string) (map[string]json.RawMessage, bool) {
	depth := 0
	for _, bracket := range bracketText.FindAllString(stringText.ReplaceAllString(text, ""), -1) {
		if bracket == "[" || bracket == "{" {
			depth++
		} else {
			depth--
		}
		if depth > maxDepth {
			return nil, false
		}
	}
	var names map[string]json.RawMessage
	err := json.Unmarshal([]byte(text), &names)
	return names, err == nil && names != nil
}

func isWellFormed(text string) bool {
	switch {
	case strings.HasPrefix(text, "djF8"):
		return isAutonomous(text)
	case strings.HasPrefix(text, "ZGV2f"):
		return isDevelopment(text)
	case localMark.MatchString(text):
		return localText.MatchString(text)
	}
	text = strings.TrimPrefix(text, "kms:")
	_, ok := fieldNames(text)
	return ok && isWellFormedJSON(text)
}

func isAutonomous(text string) bool {
	inner, _ := decodeBase64(base64.StdEncoding, text)
	parts := strings.Split(string(inner), "|")
	if len(parts) != 4 || parts[0] != "v1" {
		return false
	}
	var lengths []int
	for _, part := range parts[1:] {
		decoded, _ := decodeBase64(base64.StdEncoding, part)
		lengths = append(lengths, len(decoded))
	}
	isKey := lengths[0] >= 1 && lengths[0] <= maxWrappedLen
	return isKey && lengths[1] == nonceLen && lengths[2] >= tagLen && lengths[2] <= maxPlaintextLen+tagLen
}

// isDevelopment: a Fernet token: version, time, IV, blocks, MAC.
func isDevelopment(text string) bool {
	inner, _ := decodeBase64(base64.StdEncoding, text)
	token, marked := strings.CutPrefix(string(inner), "dev|")
	data, _ := decodeBase64(base64.URLEncoding, token)
	blocks := len(data) - 1 - 8 - 16 - 32
	return marked && blocks > 0 && blocks%16 == 0 && data[0] == 0x80
}

// isDamaged: whether a text without a mark would be an envelope if its mark were mended: then it is a ciphertext.
func isDamaged(text string) bool {
	if strings.HasPrefix(text, "{") {
		return false
	}
	for _, mark := range []string{v2Mark, v3Mark, `kms:{"`, twiceMark} {
		if differsInOneByte(text, mark) {
			return true
		}
	}
	names, isJSON := fieldNames(mended(text, "{"))
	return isDamagedLocal(text) || isJSON && fieldsClaim(names) ||
		isAutonomous(mended(text, "djF8")) || isDevelopment(mended(text, "ZGV2f"))
}

func mended(text, mark string) string {
	if len(text) < len(mark) || !utf8.ValidString(text[len(mark):]) {
		return mark
	}
	return mark + text[len(mark):]
}

func differsInOneByte(text, mark string) bool {
	differences := 0
	for at := 0; at < len(mark) && len(text) >= len(mark); at++ {
		if text[at] != mark[at] {
			differences++
		}
	}
	return differences == 1
}

// isDamagedLocal: `iv:tag:ciphertext`, with or without a version: one character of the IV or the separator after it is wrong.
func isDamagedLocal(text string) bool {
	if !damagedLocal.MatchString(text) {
		return false
	}
	at := strings.LastIndex(text, ":") - 33
	if at < 32 {
		return false
	}
	wrong := 0
	for _, character := range []byte(text[at-32 : at]) {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(character)) {
			wrong++
		}
	}
	if text[at] != ':' {
		wrong++
	}
	return wrong <= 1
}
