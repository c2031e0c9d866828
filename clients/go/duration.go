package tokenseal

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// longestDuration is the longest span that a setting can name: 100 years of 365.25 days, as in the programs.
const longestDuration = 3_155_760_000 * time.Second

var (
	secondsText = regexp.MustCompile(`^[0-9]+$`)
	// The white space of Unicode, as the programs know it; \s is another set in each language.
	space        = `\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}`
	durationText = regexp.MustCompile(strings.ReplaceAll(`^([0-9][0-9_]*(\.[_]*[0-9][0-9_]*)?[a-zA-Zµ]+[_]*)+$`, "_", space))
	durationPart = regexp.MustCompile(strings.ReplaceAll(`([0-9][0-9._]*)([a-zA-Zµ]+)`, "_", space))
	spaces       = regexp.MustCompile(`[` + space + `]`)

	units = unitsByName(map[string]time.Duration{
		"nanos nsec ns": time.Nanosecond, "usec us µs": time.Microsecond, "millis msec ms": time.Millisecond,
		"seconds second secs sec s": time.Second, "minutes minute mins min m": time.Minute,
		"hours hour hrs hr h": time.Hour, "days day d": 24 * time.Hour, "weeks week wks wk w": 7 * 24 * time.Hour,
		"months month M": 2_630_016 * time.Second, "years year yrs yr y": 31_557_600 * time.Second,
	})
)

func unitsByName(spellings map[string]time.Duration) map[string]time.Duration {
	units := map[string]time.Duration{}
	for names, unit := range spellings {
		for _, name := range strings.Fields(names) {
			units[name] = unit
		}
	}
	return units
}

// parseDuration reads 250ms, 90s, 5m, 1h 30m, 7d, or digits alone for seconds. The programs
// read the spans of clients/shared/durations.json alike.
func parseDuration(text string) (time.Duration, bool) {
	text = strings.TrimSpace(text)
	if secondsText.MatchString(text) {
		text += "s"
	}
	if !durationText.MatchString(text) {
		return 0, false
	}
	total := 0.0
	for _, part := range durationPart.FindAllStringSubmatch(text, -1) {
		number, err := strconv.ParseFloat(spaces.ReplaceAllString(part[1], ""), 64)
		unit, known := units[part[2]]
		if err != nil || !known {
			return 0, false
		}
		total += number * float64(unit)
	}
	if total > float64(longestDuration) {
		return 0, false
	}
	return time.Duration(total), true
}
