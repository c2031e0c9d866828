package tokenseal

import (
	"encoding/base64"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

var (
	envelopeFormats   = []string{"v2", "v3"}
	bindings          = []string{"accept-unbound", "require", "off"}
	plaintextPolicies = []string{"allow", "allow-read", "forbid"}
	suites            = []string{"aes-256-gcm", "chacha20-poly1305"}
)

const (
	maxFileLen      = 65_536
	defaultCacheTTL = 5 * time.Minute
	defaultCacheMax = 10_000
)

// variable is a variable, or the content of the file that `<name>_FILE` names; an empty one counts as not set.
func variable(name string) (string, error) {
	value, path := strings.TrimSpace(os.Getenv(name)), strings.TrimSpace(os.Getenv(name+"_FILE"))
	if value != "" && path != "" {
		return "", configuration(fmt.Sprintf("%s and %s_FILE are both set: unset one of them", name, name))
	}
	if path == "" {
		return value, nil
	}
	if status, err := os.Stat(path); err == nil && status.Mode().IsRegular() && status.Size() <= maxFileLen {
		if content, err := os.ReadFile(path); err == nil && utf8.Valid(content) {
			text := strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r")
			if strings.TrimSpace(text) == "" {
				return "", configuration(name + "_FILE names a file that is empty")
			}
			return text, nil
		}
	}
	return "", configuration(fmt.Sprintf("%s_FILE does not name a readable text file of at most %d bytes", name, maxFileLen))
}

// given is the caller's value, or the variable.
func given(value, name string) (string, error) {
	if value != "" {
		return value, nil
	}
	return variable(name)
}

// choice is the caller's value, or the variable, or the default.
func choice(value, name string, choices []string, standard string) (string, error) {
	value, err := given(value, name)
	switch {
	case err != nil:
		return "", err
	case value == "":
		return standard, nil
	case !slices.Contains(choices, value):
		return "", configuration(fmt.Sprintf("%s must be one of %s", name, strings.Join(choices, ", ")))
	}
	return value, nil
}

func configuredKey(value string) (string, error) {
	for _, name := range []string{"KMS_KEY_ID", "TOKEN_ENCRYPTION_KEY_ID"} {
		key, err := given(value, name)
		if err != nil || key != "" {
			return key, err
		}
	}
	return "", configuration("no key is configured: set Config.KeyID, or KMS_KEY_ID")
}

func allowedKeys(keys []string) ([]string, error) {
	if keys == nil {
		text, err := variable("KMS_ALLOWED_KEYS")
		if err != nil {
			return nil, err
		}
		keys = strings.Split(text, ",")
	}
	var allowed []string
	for _, key := range keys {
		if key = strings.TrimSpace(key); key != "" {
			allowed = append(allowed, key)
		}
	}
	return allowed, nil
}

// configuredProfile is the profile that was given or named; ENCRYPTION_CONTEXT replaces its pairs, as it does for the
// programs.
func configuredProfile(profile *Profile) (*Profile, error) {
	if profile == nil {
		name, err := variable("TOKEN_PROFILE")
		if err != nil {
			return nil, err
		}
		if name == "" {
			name = "vod-tender"
		}
		if profile, err = LoadProfile(name); err != nil {
			return nil, err
		}
	}
	text, err := variable("ENCRYPTION_CONTEXT")
	if err != nil || text == "" || profile.contextIsGiven {
		return profile, err
	}
	pairs, err := contextPairs(text)
	if err != nil {
		return nil, err
	}
	return profile.WithContext(pairs)
}

func contextPairs(text string) (map[string]string, error) {
	pairs := map[string]string{}
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if name == "" || value == "" {
			return nil, configuration("ENCRYPTION_CONTEXT must be name=value,name=value")
		}
		if _, twice := pairs[name]; twice {
			return nil, configuration(fmt.Sprintf("ENCRYPTION_CONTEXT: %q is given twice", name))
		}
		pairs[name] = value
	}
	return pairs, nil
}

func directKey(text string) ([]byte, error) {
	text, err := given(text, "ENCRYPTION_KEY")
	if err != nil || text == "" {
		return nil, err
	}
	key, err := decodeBase64(base64.StdEncoding, strings.TrimSpace(text))
	if err != nil {
		return nil, configuration("ENCRYPTION_KEY is not standard base64 with padding")
	}
	if len(key) != 32 {
		return nil, configuration(fmt.Sprintf("ENCRYPTION_KEY is %d bytes long; expected base64 of exactly 32 bytes", len(key)))
	}
	return key, nil
}

func cacheTTL(value time.Duration) (time.Duration, error) {
	if value != 0 {
		return value, nil
	}
	text, err := variable("DEK_CACHE_TTL")
	if err != nil || text == "" {
		return defaultCacheTTL, err
	}
	if ttl, ok := parseDuration(text); ok {
		return ttl, nil
	}
	return 0, configuration("DEK_CACHE_TTL must be a duration such as 30s, 5m or 1h 30m")
}

func cacheMax(value int) (int, error) {
	if value != 0 {
		return value, nil
	}
	text, err := variable("DEK_CACHE_MAX")
	if err != nil || text == "" {
		return defaultCacheMax, err
	}
	// As the programs read it: 64 bits, and a sign that changes nothing.
	number, err := strconv.ParseUint(strings.TrimPrefix(text, "+"), 10, 64)
	if err != nil {
		return 0, configuration("DEK_CACHE_MAX must be a whole number")
	}
	return int(min(number, math.MaxInt)), nil
}
