package tokenseal

import (
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

// FromDatabase is text that was read back from the database (CAST(column AS text)), and so is canonical for any type.
type FromDatabase string

// anySpace is what any of the clients' languages, or a database, takes for white space.
const anySpace = `\x{9}-\x{d}\x{1c}-\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}`

var (
	textType    = regexp.MustCompile(`^(text|(varchar|character varying)(\([0-9]+\))?)$`)
	integerType = regexp.MustCompile(`^(integer|int|bigint|smallint|int2|int4|int8)$`)
	integerText = regexp.MustCompile(`^[+-]?[0-9]{1,39}$`)
	// As PostgreSQL reads them: a hyphen may follow each group of four digits, and braces may surround the whole.
	uuidText = regexp.MustCompile(
		`^(?:(?:[0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}|\{(?:[0-9a-fA-F]{4}-?){7}[0-9a-fA-F]{4}\})$`)
	// Padded text, numbers, bytea, dates and times.
	ambiguous = regexp.MustCompile(
		`(?s)^[` + anySpace + `]|[` + anySpace + `]$|^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$|^\\x[0-9a-fA-F]*$|^[0-9]{4}-[0-9]{2}-[0-9]{2}`)
)

// canonicalText is the text that the database has for a value of a column; declared is the profile's type of it.
func canonicalText(column, declared string, value any) (string, error) {
	if text, ok := value.(FromDatabase); ok {
		return string(text), nil
	}
	isUUID := isArray(value)
	value = normalized(value)
	family := strings.ToLower(strings.TrimSpace(declared))
	switch {
	case declared == "":
		return undeclared(column, value)
	case textType.MatchString(family):
		if text, ok := value.(string); ok && !isUUID {
			return text, nil
		}
	case integerType.MatchString(family):
		return integer(column, value)
	case family == "uuid":
		return uuid(column, value)
	}
	return "", keyRefusal(column, fmt.Sprintf("a value of this kind has no canonical text for the type %q", declared))
}

// normalized reduces values of drivers and services to nil, bool, int64, uint64, string or a UUID's text; others stay as they are.
func normalized(value any) any {
	of := pointedTo(valued(value))
	switch {
	case !of.IsValid() || of.Kind() == reflect.Pointer:
		return nil
	case of.CanInt():
		return of.Int()
	case of.CanUint():
		return of.Uint()
	case of.Kind() == reflect.String:
		return of.String()
	case of.Kind() == reflect.Bool:
		return of.Bool()
	case of.Kind() == reflect.Slice && of.Type().Elem().Kind() == reflect.Uint8:
		return string(of.Bytes())
	case of.Kind() == reflect.Array && of.Len() == 16 && of.Type().Elem().Kind() == reflect.Uint8:
		var bytes [16]byte
		reflect.Copy(reflect.ValueOf(&bytes).Elem(), of)
		return hyphenated(hex.EncodeToString(bytes[:]))
	default:
		return of.Interface()
	}
}

// isArray says whether a value, or what normalized takes for it, is an array. Its text is a UUID's, which a column of text
// may have in another spelling.
func isArray(value any) bool {
	return pointedTo(value).Kind() == reflect.Array || pointedTo(valued(value)).Kind() == reflect.Array
}

// valued is the value of a driver.Valuer, and any other value itself.
func valued(value any) any {
	valuer, ok := value.(driver.Valuer)
	if !ok {
		return value
	}
	if of := reflect.ValueOf(value); of.Kind() == reflect.Pointer && of.IsNil() {
		return nil
	}
	inner, err := valuer.Value()
	if err != nil {
		return struct{}{}
	}
	return inner
}

// pointedTo follows pointers to their end, which is a pointer itself if it is nil.
func pointedTo(value any) reflect.Value {
	of := reflect.ValueOf(value)
	for of.Kind() == reflect.Pointer && !of.IsNil() {
		of = of.Elem()
	}
	return of
}

func integer(column string, value any) (string, error) {
	switch number := value.(type) {
	case int64:
		return strconv.FormatInt(number, 10), nil
	case uint64:
		if number <= 1<<63-1 {
			return strconv.FormatUint(number, 10), nil
		}
	case string:
		if parsed, err := strconv.ParseInt(number, 10, 64); err == nil && integerText.MatchString(number) {
			return strconv.FormatInt(parsed, 10), nil
		}
	}
	return "", keyRefusal(column, "the value is not an integer of 64 bits")
}

func uuid(column string, value any) (string, error) {
	text, ok := value.(string)
	if !ok || !uuidText.MatchString(text) {
		return "", keyRefusal(column, "the value is not a UUID")
	}
	return hyphenated(strings.ToLower(strings.NewReplacer("{", "", "}", "", "-", "").Replace(text))), nil
}

func hyphenated(digits string) string {
	return strings.Join([]string{digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]}, "-")
}

// undeclared takes only what has one spelling in every type.
func undeclared(column string, value any) (string, error) {
	text, ok := value.(string)
	if !ok {
		return integer(column, value)
	}
	if uuidText.MatchString(text) {
		if canonical, _ := uuid(column, text); canonical != text {
			return "", keyRefusal(column, "the value may be a UUID in another spelling than the database's")
		}
		return text, nil
	}
	canonical, err := integer(column, text)
	if ambiguous.MatchString(text) && (err != nil || canonical != text) {
		return "", keyRefusal(column, "the value may have another spelling in the database")
	}
	return text, nil
}

func keyRefusal(column, why string) error {
	hint := fmt.Sprintf("declare types = { %s = … } in the profile, or pass tokenseal.FromDatabase(text)", column)
	return refused(fmt.Sprintf("column %q: %s; %s", column, why, hint))
}
