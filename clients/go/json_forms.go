package tokenseal

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	maxKeyCiphertextLen = 6_144
	maxKeyIDLen         = 256
	hashLen             = 32
)

var (
	labelledFields = []string{"v", "alg", "purpose", "keyId", "messageId", "commitment", "tag", "ciphertext", "aad", "timestamp"}

	jsonTime   = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?$`)
	jsonEscape = regexp.MustCompile(`\\(u.{4}|.)`)
	surrogate  = regexp.MustCompile(`\\ud[89a-f]`)
)

// isWellFormedJSON: whether an object is an envelope of another program (docs/formats.md), in a spelling in which the programs
// write it.
func isWellFormedJSON(text string) bool {
	if !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}") || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' }) {
		return false
	}
	for _, escape := range jsonEscape.FindAllString(text, -1) {
		if escape[1] == 'u' && escape != strings.ToLower(escape) {
			return false
		}
	}
	fields, names := jsonMembers([]byte(text))
	are := func(wanted ...string) bool { return len(names) == len(wanted) && count(fields, wanted) == len(wanted) }
	switch {
	case are(pulseplanFields...):
		return isPulseplan(fields)
	case are(append([]string{"v"}, nodeFields...)...):
		return isNode(fields, "1", "aes-256-gcm") && jsonLength(fields["iv"]) == nonceLen
	case are(labelledFields...):
		// This version has one spelling.
		var spelled []string
		for _, name := range labelledFields {
			spelled = append(spelled, `"`+name+`":`+string(fields[name]))
		}
		purpose, _ := jsonText(fields["purpose"])
		hashes := []int{jsonLength(fields["messageId"]), jsonLength(fields["commitment"])}
		return isNode(fields, "2", "aes-256-gcm-hkdf-sha512-commit") && purpose != "" &&
			slices.Equal(hashes, []int{hashLen, hashLen}) && "{"+strings.Join(spelled, ",")+"}" == text
	}
	return false
}

// jsonMembers are the members of an object, and their names as often as they are given; none for any other value, and for one that
// has a name twice.
func jsonMembers(text []byte) (map[string]json.RawMessage, []string) {
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
		return nil, nil
	}
	members, names := map[string]json.RawMessage{}, []string{}
	for decoder.More() {
		name, err := decoder.Token()
		var member json.RawMessage
		if err != nil || decoder.Decode(&member) != nil {
			return nil, nil
		}
		named, _ := name.(string)
		if _, twice := members[named]; twice {
			return nil, nil
		}
		members[named], names = member, append(names, named)
	}
	return members, names
}

func isPulseplan(fields map[string]json.RawMessage) bool {
	algorithm, _ := jsonText(fields["algorithm"])
	keyID, _ := jsonText(fields["key_id"])
	at, _ := jsonText(fields["encrypted_at"])
	context, names := jsonMembers(fields["encryption_context"])
	if context == nil {
		return false
	}
	length := 2
	for _, name := range names {
		value, _ := jsonText(context[name])
		if name == "" || value == "" {
			return false
		}
		length += 4 + len(name) + len(value)
	}
	sealed := jsonLength(fields["ciphertext"])
	return algorithm == "KMS" && keyID != "" && jsonTime.MatchString(at) && length <= maxContextLen &&
		sealed >= 1 && sealed <= maxKeyCiphertextLen
}

func isNode(fields map[string]json.RawMessage, version, algorithm string) bool {
	named, _ := jsonText(fields["alg"])
	keyID, _ := jsonText(fields["keyId"])
	_, err := strconv.ParseUint(string(fields["timestamp"]), 10, 64)
	sealed := jsonLength(fields["ciphertext"])
	return string(fields["v"]) == version && named == algorithm && keyID != "" && len(keyID) <= maxKeyIDLen && err == nil &&
		jsonLength(fields["tag"]) == tagLen && sealed >= 0 && sealed <= maxPlaintextLen &&
		(string(fields["aad"]) == "null" || jsonLength(fields["aad"]) >= 0)
}

// jsonText is a text of valid JSON; a lone surrogate is none.
func jsonText(member json.RawMessage) (string, bool) {
	var text *string
	if json.Unmarshal(member, &text) != nil || text == nil {
		return "", false
	}
	if strings.ContainsRune(*text, '\ufffd') && surrogate.Match(member) {
		return "", false
	}
	return *text, true
}

// jsonLength is the length of what a member holds in base64; -1 where it holds none.
func jsonLength(member json.RawMessage) int {
	text, ok := jsonText(member)
	if !ok {
		return -1
	}
	data, err := decodeBase64(base64.StdEncoding, text)
	if err != nil {
		return -1
	}
	return len(data)
}
