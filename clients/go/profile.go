package tokenseal

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

//go:embed profiles/*.json
var builtIn embed.FS

var (
	builtInNames = []string{"vod-tender", "pulseplan", "autonomous"}
	floors       = []string{"any", "envelope", "bound"}
	unmarkeds    = []string{"plaintext", "direct-aes"}
)

// parseTOML is set by the package tokenseal/tomlprofile.
var parseTOML func(text []byte) (map[string]any, error)

// RegisterTOML gives this package a TOML parser; importing tokenseal/tomlprofile does that.
func RegisterTOML(parse func(text []byte) (map[string]any, error)) { parseTOML = parse }

// Profile says which tables hold sealed values, and what those are bound to. The programs read the same files.
type Profile struct {
	name, unmarked, floor string
	context               map[string]string
	// contextIsGiven: the caller chose the context, so that ENCRYPTION_CONTEXT does not replace it.
	contextIsGiven bool
	tables         []*table
}

type versionColumns struct{ version, method, keyID string }

type table struct {
	name, schema, boundAs, updated string
	key, owner, tokens, plain      []string
	version                        *versionColumns
	boundColumns, types            map[string]string
	indexed                        []string
	// record is the column that describes the values to another program.
	record        string
	recordMayLack bool
}

// LoadProfile finds a built-in profile by name, or reads the JSON of `profile show --format json`, or a TOML file.
// For TOML the package tokenseal/tomlprofile must be imported; without it TOML is [ErrUnsupported].
func LoadProfile(nameOrPath string) (*Profile, error) {
	if slices.Contains(builtInNames, nameOrPath) {
		text, err := builtIn.ReadFile("profiles/" + nameOrPath + ".json")
		if err != nil {
			return nil, configuration("a built-in profile is missing")
		}
		return ParseProfileJSON(text)
	}
	text, err := os.ReadFile(nameOrPath)
	if err != nil {
		return nil, configuration(fmt.Sprintf("profile %q is neither one of %s nor a file that can be read",
			nameOrPath, strings.Join(builtInNames, ", ")))
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if strings.HasSuffix(nameOrPath, ".json") {
		return ParseProfileJSON(text)
	}
	if parseTOML == nil {
		return nil, unsupported("profiles in TOML need the package tokenseal/tomlprofile; " +
			"`migrate-tokens profile show --format json` prints JSON, which needs nothing")
	}
	parsed, err := parseTOML(text)
	if err != nil {
		// The parser's words may repeat a line of a file that was named by mistake, such as one of secrets.
		return nil, configuration("profile is not valid TOML")
	}
	return NewProfile(parsed)
}

// ParseProfileJSON reads the JSON that `migrate-tokens profile show --format json` prints.
func ParseProfileJSON(text []byte) (*Profile, error) {
	var parsed map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	if decoder.Decode(&parsed) != nil {
		return nil, configuration("profile is not valid JSON")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, configuration("profile is not valid JSON")
	}
	return NewProfile(parsed)
}

// NewProfile reads a parsed profile; an unknown field is refused, because to overlook one could bind values wrongly.
func NewProfile(parsed map[string]any) (*Profile, error) {
	f := newFields(parsed, "profile")
	if !f.has("context") {
		f.wrong("context", "a table of texts")
	}
	profile := &Profile{
		name:     f.text("name"),
		context:  f.textsByName("context"),
		unmarked: f.choice("unmarked", unmarkeds),
		floor:    f.choice("floor", floors),
	}
	for _, each := range f.items("tables") {
		parsed, err := newTable(newFields(each, "a table of the profile"))
		if err != nil {
			return nil, err
		}
		profile.tables = append(profile.tables, parsed)
	}
	f.skip("legacy", "metrics_prefix", "providers")
	if err := f.finish(); err != nil {
		return nil, err
	}
	return profile, profile.check()
}

// WithContext is the same profile with other pairs in every encryption context; it overrides ENCRYPTION_CONTEXT.
func (p *Profile) WithContext(context map[string]string) (*Profile, error) {
	changed := *p
	changed.context, changed.contextIsGiven = maps.Clone(context), true
	return &changed, changed.check()
}

// Name is the profile's name.
func (p *Profile) Name() string { return p.name }

// Context has the pairs of every encryption context.
func (p *Profile) Context() map[string]string { return maps.Clone(p.context) }

func (p *Profile) table(name string) (*table, error) {
	for _, each := range p.tables {
		if each.name == name {
			return each, nil
		}
	}
	return nil, refused(fmt.Sprintf("the profile has no table %q", name))
}

func newTable(f *fields) (*table, error) {
	parsed := &table{
		name: f.text("name"), schema: f.optionalText("schema"), boundAs: f.optionalText("bound_as"),
		updated: f.optionalText("updated"),
		key:     f.texts("key"), owner: f.texts("owner"), tokens: f.texts("tokens"), plain: f.texts("plain"),
		boundColumns: f.textsByName("bound_columns"), types: f.textsByName("types"),
	}
	if parsed.boundAs == "" {
		parsed.boundAs = parsed.name
	}
	if version, ok := f.optional("version"); ok {
		columns := newFields(version, "the version columns")
		parsed.version = &versionColumns{columns.text("version"), columns.text("method"), columns.text("key_id")}
		if err := columns.finish(); err != nil {
			return nil, err
		}
	}
	for _, index := range f.items("index") {
		each := newFields(index, "an index of the profile")
		parsed.indexed = append(parsed.indexed, each.text("column"))
		if each.err != nil {
			return nil, each.err
		}
	}
	if described, ok := f.optional("record"); ok {
		record := newFields(described, "the record of the profile")
		parsed.record = record.text("column")
		mayLack, _ := record.optional("optional")
		parsed.recordMayLack = mayLack == true
		if record.err != nil {
			return nil, record.err
		}
	}
	f.skip("filter", "optional", "lost_indexes", "refresh")
	return parsed, f.finish()
}

// boundColumn is a column's name in bindings.
func (t *table) boundColumn(column string) string {
	if name, ok := t.boundColumns[column]; ok {
		return name
	}
	return column
}

func (t *table) versionNames() []string {
	if t.version == nil {
		return nil
	}
	return []string{t.version.version, t.version.method, t.version.keyID}
}

func (p *Profile) check() error {
	problem := func(what string) error { return configuration(fmt.Sprintf("profile %q: %s", p.name, what)) }
	for name, value := range p.context {
		if name == "table" || name == "column" || name == "" || value == "" {
			return problem("a pair of the context has no name or value of its own")
		}
	}
	if len(p.tables) == 0 {
		return problem("it names no table")
	}
	var names, bound []string
	for _, each := range p.tables {
		names, bound = append(names, each.name), append(bound, each.boundAs)
		if what := p.problemOf(each); what != "" {
			return problem(what)
		}
	}
	if repeats(names) {
		return problem("it names a table twice")
	}
	if repeats(bound) {
		return problem("values of two tables would be bound to the same name")
	}
	return nil
}

func (p *Profile) problemOf(t *table) string {
	if len(t.key) == 0 || len(t.tokens) == 0 {
		return fmt.Sprintf("table %q needs at least one key and one token column", t.name)
	}
	roles := slices.Concat(t.key, t.owner, t.tokens, t.plain, t.versionNames())
	if t.updated != "" {
		roles = append(roles, t.updated)
	}
	if repeats(roles) {
		return fmt.Sprintf("a column of table %q has two roles", t.name)
	}
	var identity, cells []string
	for _, column := range slices.Concat(t.key, t.owner) {
		identity = append(identity, t.boundColumn(column))
	}
	for _, column := range t.tokens {
		cells = append(cells, t.boundColumn(column))
	}
	for _, name := range identity {
		if _, taken := p.context[name]; taken || name == "table" || name == "column" || repeats(identity) {
			return fmt.Sprintf("a key or owner column of table %q has the name of another pair of the context", t.name)
		}
	}
	if repeats(cells) {
		return fmt.Sprintf("two token columns of table %q are bound to one name", t.name)
	}
	for column := range t.types {
		if !slices.Contains(slices.Concat(t.key, t.owner), column) {
			return fmt.Sprintf("types of table %q names a column that is neither key nor owner", t.name)
		}
	}
	for column := range t.boundColumns {
		if !slices.Contains(slices.Concat(t.key, t.owner, t.tokens), column) {
			return fmt.Sprintf("bound_columns of table %q names a column that binds nothing", t.name)
		}
	}
	return ""
}

func repeats(names []string) bool {
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			return true
		}
		seen[name] = true
	}
	return false
}
