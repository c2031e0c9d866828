package tokenseal

import (
	"regexp"
	"strings"
)

var (
	arnText   = regexp.MustCompile(`^arn:([a-z-]+):kms:([a-z0-9-]+):([0-9]{12}):((?:key|alias)/.+)$`)
	aliasText = regexp.MustCompile(`^alias/[A-Za-z0-9/_-]+$`)
	idText    = regexp.MustCompile(`^[A-Za-z0-9-]{1,128}$`)
)

type keyARN struct{ partition, region, account, resource string }

func parseARN(text string) (keyARN, bool) {
	parts := arnText.FindStringSubmatch(text)
	if parts == nil {
		return keyARN{}, false
	}
	return keyARN{parts[1], parts[2], parts[3], parts[4]}, true
}

// checkConfigured takes an alias, an ARN of a key or alias, or a bare key id.
func checkConfigured(key string) error {
	name := key
	if arn, ok := parseARN(key); ok {
		name = strings.TrimPrefix(arn.resource, "key/")
	}
	switch {
	case aliasText.MatchString(name), idText.MatchString(name):
		return nil
	case strings.HasPrefix(key, "keyring:"), strings.HasPrefix(key, "vault:"):
		return unsupported("this client works with AWS KMS: keyrings and Vault are reached through the agent")
	case strings.Contains(key, ","):
		return unsupported("this client takes one key: several Regions are reached through the agent")
	}
	// Not repeated: it may be a secret that was put into the wrong variable.
	return configuration("a key must be alias/<name>, the ARN of a KMS key or alias, or a key id")
}

// aliasName is `alias/…` out of an alias's name or ARN, or empty.
func aliasName(text string) string {
	if arn, ok := parseARN(text); ok {
		text = arn.resource
	}
	if strings.HasPrefix(text, "alias/") {
		return text
	}
	return ""
}

// keyID is the id out of a key's ARN, or a text that can be an id, or empty.
func keyID(text string) string {
	if arn, ok := parseARN(text); ok {
		id, isKey := strings.CutPrefix(arn.resource, "key/")
		if !isKey {
			return ""
		}
		text = id
	}
	if idText.MatchString(text) {
		return text
	}
	return ""
}

func sameAlias(own, claim string) bool {
	if aliasName(own) == "" {
		return false
	}
	if strings.HasPrefix(own, "arn:") && strings.HasPrefix(claim, "arn:") {
		return own == claim
	}
	return aliasName(own) == aliasName(claim)
}

// sameKey: whether two key ARNs, two ids, or one of each name the same key; replicas of a multi-Region key do.
func sameKey(own, claim string) bool {
	if strings.HasPrefix(own, "arn:") && strings.HasPrefix(claim, "arn:") {
		mine, isARN := parseARN(own)
		theirs, areARNs := parseARN(claim)
		if own == claim || !isARN || !areARNs || !strings.HasPrefix(mine.resource, "key/mrk-") {
			return own == claim
		}
		mine.region = theirs.region
		return mine == theirs
	}
	return keyID(own) != "" && keyID(own) == keyID(claim)
}
