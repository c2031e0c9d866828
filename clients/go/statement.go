package tokenseal

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Update is the change to a row.
type Update struct {
	Table string
	// Old is the row as the driver read it, with its key, owner, token and version columns.
	Old map[string]any
	// Set has for token columns: a text, which is sealed; a [Sealed] value; or nil for NULL.
	Set map[string]any
	// Plain has values of other columns.
	Plain map[string]any
	// Dialect is postgres (if left out), sqlite or mysql.
	Dialect string
	// Placeholder is $1 or ?; if left out, that of the dialect.
	Placeholder string
}

// Statement is SQL with placeholders, and their values. Exactly one changed row means success.
type Statement struct {
	SQL    string
	Params []any
}

type dialect struct{ same, now, placeholder, quote string }

var dialects = map[string]dialect{
	"postgres": {"%s IS NOT DISTINCT FROM %s", "now()", "$1", `"`},
	"sqlite":   {"%s IS %s", "CURRENT_TIMESTAMP", "?", `"`},
	"mysql":    {"BINARY %s <=> BINARY %s", "CURRENT_TIMESTAMP", "?", "`"},
}

// Update makes the UPDATE … WHERE that writes values into a row if it is unchanged since it was read (compare-and-swap).
//
// Tokens that stay are opened and sealed again where the row's version or key changes, so that version and values move
// together. If the statement changes no row, read the row again and repeat.
func (s *Sealer) Update(ctx context.Context, update Update) (Statement, error) {
	layout, err := s.profile.table(update.Table)
	if err != nil {
		return Statement{}, err
	}
	w := &writer{sealer: s, table: layout, update: update, tokens: map[string]string{}}
	if err := w.check(); err != nil {
		return Statement{}, err
	}
	values, keyID, err := w.values(ctx)
	if err != nil {
		return Statement{}, err
	}
	return w.statement(values, keyID), nil
}

type writer struct {
	sealer      *Sealer
	table       *table
	update      Update
	dialect     dialect
	placeholder string
	params      []any
	// tokens are those of the row as they are stored; empty for NULL.
	tokens map[string]string
}

func (w *writer) check() error {
	name := w.update.Dialect
	if name == "" {
		name = "postgres"
	}
	known, ok := dialects[name]
	if !ok {
		return configuration("Dialect must be one of postgres, sqlite, mysql")
	}
	w.dialect, w.placeholder = known, w.update.Placeholder
	if w.placeholder == "" {
		w.placeholder = known.placeholder
	}
	if w.placeholder != "$1" && w.placeholder != "?" {
		return configuration("Placeholder must be $1 or ?")
	}
	if _, isRead := w.update.Old[w.table.record]; w.table.record != "" && (isRead || !w.table.recordMayLack) {
		return refused(fmt.Sprintf("table %q describes its values in a record column: write it through the agent", w.table.name))
	}
	for _, column := range w.table.tokens {
		text, isText := storedText(w.update.Old[column])
		if !isText {
			return refused(fmt.Sprintf("token column %q of the row as it was read is neither text nor NULL", column))
		}
		w.tokens[column] = text
	}
	needed := slices.Concat(w.table.key, w.table.owner, w.table.tokens)
	if version := w.table.version; version != nil {
		needed = append(needed, version.version, version.keyID)
	}
	for _, column := range needed {
		if _, ok := w.update.Old[column]; !ok {
			return refused(fmt.Sprintf("the row as it was read must have the column %q", column))
		}
	}
	return w.checkColumns()
}

func (w *writer) checkColumns() error {
	for column := range w.update.Set {
		if !slices.Contains(w.table.tokens, column) {
			return refused(fmt.Sprintf("table %q has no token column %q in the profile", w.table.name, column))
		}
		if slices.Contains(w.table.indexed, column) {
			return refused(fmt.Sprintf("column %q has a blind index: write it through the agent, which fills it", column))
		}
	}
	own := slices.Concat(w.table.key, w.table.owner, w.table.tokens, w.table.versionNames())
	for column := range w.update.Plain {
		if slices.Contains(own, column) {
			return refused(fmt.Sprintf("column %q is not a plain column", column))
		}
	}
	if len(w.update.Set) == 0 {
		return refused("no token column is set")
	}
	return nil
}

// values are the texts to write, all under one version and one key.
func (w *writer) values(ctx context.Context) (map[string]any, string, error) {
	values, keyIDs := map[string]any{}, map[string]bool{}
	put := func(column string, sealed Sealed) {
		values[column] = sealed.Text
		if sealed.KeyID != "" {
			keyIDs[sealed.KeyID] = true
		}
	}
	for _, column := range slices.Sorted(maps.Keys(w.update.Set)) {
		if sealed, ok := w.update.Set[column].(Sealed); ok {
			if sealed.Version != 2 || sealed.Method != method || sealed.Text != "" && !isEnvelope(sealed.Text) {
				return nil, "", refused(fmt.Sprintf("column %q is set to a Sealed value that is no envelope", column))
			}
			put(column, sealed)
			continue
		}
		switch value := normalized(w.update.Set[column]).(type) {
		case nil:
			values[column] = nil
		case string:
			sealed, err := w.sealer.Seal(ctx, value, w.cell(column))
			if err != nil {
				return nil, "", err
			}
			put(column, sealed)
		default:
			return nil, "", refused(fmt.Sprintf("column %q is set to something that is no text", column))
		}
	}
	kept := w.kept()
	if w.table.version != nil && !w.mayStay(keyIDs) {
		for _, column := range kept {
			sealed, err := w.sealAgain(ctx, column)
			if err != nil {
				return nil, "", err
			}
			put(column, sealed)
		}
	} else if own := w.keyID(); len(kept) > 0 && own != "" {
		keyIDs[own] = true
	}
	if len(keyIDs) > 1 && w.table.version != nil {
		return nil, "", refused("the values are under different keys, and the row names one: seal all of them again")
	}
	for keyID := range keyIDs {
		return values, keyID, nil
	}
	return values, "", nil
}

// kept are the columns that are not set and hold a token.
func (w *writer) kept() []string {
	var kept []string
	for _, column := range w.table.tokens {
		if _, isSet := w.update.Set[column]; !isSet && w.tokens[column] != "" {
			kept = append(kept, column)
		}
	}
	return kept
}

// mayStay: whether tokens that are not set are still read in their own form, by the row's version and under its key.
func (w *writer) mayStay(keyIDs map[string]bool) bool {
	for keyID := range keyIDs {
		if keyID != w.keyID() {
			return false
		}
	}
	return versionNumber(w.version()) == 2
}

func (w *writer) sealAgain(ctx context.Context, column string) (Sealed, error) {
	cell := w.cell(column)
	cell.Version, cell.KeyID = w.version(), w.keyID()
	opened, err := w.sealer.Open(ctx, w.tokens[column], cell)
	if err != nil {
		return Sealed{}, err
	}
	return w.sealer.Seal(ctx, opened, w.cell(column))
}

func (w *writer) version() any {
	if w.table.version == nil {
		return nil
	}
	if version := w.update.Old[w.table.version.version]; normalized(version) != nil {
		return version
	}
	return Null
}

func (w *writer) keyID() string {
	if w.table.version == nil {
		return ""
	}
	text, _ := normalized(w.update.Old[w.table.version.keyID]).(string)
	return text
}

func (w *writer) cell(column string) Cell {
	return Cell{Table: w.table.name, Column: column, Row: w.pick(w.table.key), Owner: w.pick(w.table.owner)}
}

func (w *writer) pick(columns []string) map[string]any {
	picked := map[string]any{}
	for _, column := range columns {
		picked[column] = w.update.Old[column]
	}
	return picked
}

func (w *writer) statement(values map[string]any, keyID string) Statement {
	var sets []string
	assign := func(column string, value any) { sets = append(sets, w.quoted(column)+" = "+w.bind(value)) }
	for _, column := range slices.Sorted(maps.Keys(values)) {
		assign(column, values[column])
	}
	if version := w.table.version; version != nil {
		assign(version.version, int64(2))
		assign(version.method, method)
		assign(version.keyID, nullable(keyID))
	}
	for _, column := range slices.Sorted(maps.Keys(w.update.Plain)) {
		assign(column, w.update.Plain[column])
	}
	if _, isSet := w.update.Plain[w.table.updated]; w.table.updated != "" && !isSet {
		sets = append(sets, w.quoted(w.table.updated)+" = "+w.dialect.now)
	}
	var conditions []string
	for _, column := range w.table.key {
		conditions = append(conditions, w.quoted(column)+" = "+w.bind(w.old(column)))
	}
	compared := slices.Concat(w.table.owner, w.table.tokens, w.table.versionNames()[:min(1, len(w.table.versionNames()))])
	for _, column := range compared {
		conditions = append(conditions, fmt.Sprintf(w.dialect.same, w.quoted(column), w.bind(w.old(column))))
	}
	name := w.quoted(w.table.name)
	if w.table.schema != "" {
		name = w.quoted(w.table.schema) + "." + name
	}
	sql := "UPDATE " + name + " SET " + strings.Join(sets, ", ") + " WHERE " + strings.Join(conditions, " AND ")
	return Statement{sql, w.params}
}

// old is a column's value as the driver read it, as the driver takes it back.
func (w *writer) old(column string) any {
	switch value := w.update.Old[column].(type) {
	case FromDatabase:
		return string(value)
	case []byte:
		// Some drivers read text as bytes, and would send bytes as a bytea literal.
		return string(value)
	default:
		return value
	}
}

// storedText is a token as it is stored, empty for NULL. Anything but text would stay as it is and not open any more.
func storedText(value any) (string, bool) {
	if isArray(value) {
		return "", false
	}
	switch text := normalized(value).(type) {
	case nil:
		return "", true
	case string:
		return text, utf8.ValidString(text)
	}
	return "", false
}

func (w *writer) bind(value any) string {
	w.params = append(w.params, value)
	if w.placeholder == "$1" {
		return "$" + strconv.Itoa(len(w.params))
	}
	return "?"
}

func (w *writer) quoted(identifier string) string {
	quote := w.dialect.quote
	return quote + strings.ReplaceAll(identifier, quote, quote+quote) + quote
}

func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}
