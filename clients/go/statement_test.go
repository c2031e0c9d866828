package tokenseal

import (
	"database/sql"
	"errors"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"
)

func vodRow() map[string]any {
	return map[string]any{
		"provider": "twitch", "channel": []byte("me"), "access_token": "a", "refresh_token": []byte("r"),
		"encryption_version": int64(0), "encryption_method": nil, "encryption_key_id": nil,
	}
}

var assignment = regexp.MustCompile(`"([a-z_]+)" = \?`)

// applied is the row after a statement for SQLite, whose SET has one placeholder for each column.
func applied(old map[string]any, statement Statement) map[string]any {
	row := maps.Clone(old)
	set, _, _ := strings.Cut(statement.SQL, " WHERE ")
	for at, column := range assignment.FindAllStringSubmatch(set, -1) {
		row[column[1]] = statement.Params[at]
	}
	return row
}

func openedIn(t *testing.T, made *Sealer, row map[string]any, column string) string {
	t.Helper()
	keyID, _ := row["encryption_key_id"].(string)
	key := map[string]any{"provider": row["provider"], "channel": row["channel"]}
	cell := Cell{Table: "oauth_tokens", Column: column, Row: key, Version: row["encryption_version"], KeyID: keyID}
	opened, err := made.Open(ctx, normalized(row[column]).(string), cell)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func update(t *testing.T, made *Sealer, old, set map[string]any) map[string]any {
	t.Helper()
	statement, err := made.Update(ctx, Update{Table: "oauth_tokens", Old: old, Set: set, Dialect: "sqlite"})
	if err != nil {
		t.Fatal(err)
	}
	return applied(old, statement)
}

func TestATokenThatStaysMovesToTheNewVersionWithTheOneThatIsSet(t *testing.T) {
	direct := readVectors[struct{ Vectors []formatVector }](t, "formats.json").Vectors[0]
	for version, refresh := range map[any]string{nil: "r", int64(0): "r", int64(1): direct.Stored} {
		made := sealer(t, &memoryKMS{}, Config{EncryptionKey: direct.EncryptionKey})
		old := vodRow()
		old["encryption_version"], old["refresh_token"] = version, refresh
		row := update(t, made, old, map[string]any{"access_token": "new"})
		if row["encryption_version"] != int64(2) || row["encryption_method"] != "kms-envelope" || row["encryption_key_id"] != arn {
			t.Fatal(row)
		}
		expected := map[bool]string{true: "x", false: "r"}[version == int64(1)]
		if openedIn(t, made, row, "access_token") != "new" || openedIn(t, made, row, "refresh_token") != expected {
			t.Fatal(row)
		}
	}
}

func TestATokenThatStaysKeepsItsTextUnderTheSameKeyAndIsSealedAgainUnderAnother(t *testing.T) {
	kms := &memoryKMS{}
	made := sealer(t, kms, Config{})
	first := update(t, made, vodRow(), map[string]any{"access_token": "one"})
	second := update(t, made, first, map[string]any{"access_token": "two"})
	if second["refresh_token"] != first["refresh_token"] || openedIn(t, made, second, "access_token") != "two" {
		t.Fatal(second)
	}
	empty := update(t, made, second, map[string]any{"access_token": nil})
	if empty["access_token"] != nil || empty["encryption_key_id"] != arn {
		t.Fatal(empty)
	}
	mover := sealer(t, kms, Config{KeyID: otherARN, AllowedKeys: []string{arn}})
	moved := update(t, mover, second, map[string]any{"access_token": "b"})
	if alone := sealer(t, kms, Config{KeyID: otherARN}); openedIn(t, alone, moved, "refresh_token") != "r" {
		t.Fatal(moved)
	}
}

func TestTheConditionNamesEverythingAsItWasRead(t *testing.T) {
	made := sealer(t, &memoryKMS{}, Config{})
	statement, err := made.Update(ctx, Update{Table: "oauth_tokens", Old: vodRow(), Set: map[string]any{"access_token": "n"}})
	_, condition, _ := strings.Cut(statement.SQL, " WHERE ")
	expected := `"provider" = $6 AND "channel" = $7 AND "access_token" IS NOT DISTINCT FROM $8` +
		` AND "refresh_token" IS NOT DISTINCT FROM $9 AND "encryption_version" IS NOT DISTINCT FROM $10`
	if err != nil || condition != expected || statement.Params[6] != "me" || statement.Params[8] != "r" {
		t.Fatal(condition, statement.Params, err)
	}
}

func TestAStatementThatWouldBreakARowIsRefused(t *testing.T) {
	made := sealer(t, &memoryKMS{}, Config{Profile: crmProfile(t)})
	whole := func() Update {
		old := map[string]any{"id": 7, "tenant_id": nil, "email": "old", "phone": nil}
		return Update{Table: "customers", Old: old, Set: map[string]any{"email": "x"}}
	}
	if _, err := made.Update(ctx, whole()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Update){
		"nothing set":   func(u *Update) { u.Set = nil },
		"no token":      func(u *Update) { u.Set = map[string]any{"id": "x"} },
		"no text":       func(u *Update) { u.Set = map[string]any{"email": 5} },
		"not plain":     func(u *Update) { u.Plain = map[string]any{"phone": "x"} },
		"no table":      func(u *Update) { u.Table = "x" },
		"dialect":       func(u *Update) { u.Dialect = "oracle" },
		"placeholder":   func(u *Update) { u.Placeholder = ":1" },
		"no id":         func(u *Update) { delete(u.Old, "id") },
		"no owner":      func(u *Update) { delete(u.Old, "tenant_id") },
		"no other cell": func(u *Update) { delete(u.Old, "phone") },
	} {
		each := whole()
		change(&each)
		if _, err := made.Update(ctx, each); !errors.Is(err, ErrRefused) {
			t.Fatal(name, err)
		}
	}
	old := vodRow()
	old["refresh_token"] = "kms:v2:" + strings.Repeat("A", 30)
	_, err := sealer(t, &memoryKMS{}, Config{}).Update(ctx, Update{Table: "oauth_tokens", Old: old, Set: map[string]any{"access_token": "n"}})
	if !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
	for name, value := range map[string]any{
		"index": []any{map[string]any{"column": "email"}}, "record": map[string]any{"column": "metadata"},
	} {
		table := crmTable()
		table[name] = value
		made := sealer(t, &memoryKMS{}, Config{Profile: profile(t, map[string]any{
			"name": "p", "context": map[string]any{"a": "b"}, "tables": []any{table},
		})})
		if _, err := made.Update(ctx, whole()); !errors.Is(err, ErrRefused) {
			t.Fatal(name, err)
		}
	}
}

func TestEachDialectHasItsOwnSpelling(t *testing.T) {
	made := sealer(t, &memoryKMS{}, Config{Profile: crmProfile(t)})
	old := map[string]any{"id": 7, "tenant_id": nil, "email": "old", "phone": nil}
	for dialect, part := range map[string]string{
		"":       `UPDATE "customers" SET "email" = $1 WHERE "id" = $2 AND "tenant_id" IS NOT DISTINCT FROM $3`,
		"sqlite": `"tenant_id" IS ?`,
		"mysql":  "BINARY `email` <=> BINARY ?",
	} {
		statement, err := made.Update(ctx, Update{Table: "customers", Old: old, Set: map[string]any{"email": "x"}, Dialect: dialect})
		if err != nil || !strings.Contains(statement.SQL, part) {
			t.Fatal(statement.SQL, err)
		}
	}
}

func TestASealedValueThatIsNoEnvelopeIsNotWrittenAsOne(t *testing.T) {
	made := sealer(t, &memoryKMS{}, Config{})
	for _, sealed := range []Sealed{{canary, "", 0, ""}, {"AAAA", "", 1, "direct-aes"}, {canary, arn, 2, method}} {
		_, err := made.Update(ctx, Update{Table: "oauth_tokens", Old: vodRow(), Set: map[string]any{"access_token": sealed}})
		if !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), canary) {
			t.Fatal(sealed, err)
		}
	}
	sealed, _ := made.Seal(ctx, "x", vodCell())
	update(t, made, vodRow(), map[string]any{"access_token": sealed, "refresh_token": Sealed{"", "", 2, method}})
}

func TestATokenThatStaysAndIsNoTextStopsTheWrite(t *testing.T) {
	for _, stays := range []any{7, 1.5, true, []byte{0xff, 0xfe}, [16]byte{}, []string{"t"}, time.Unix(0, 0), struct{}{}} {
		old := vodRow()
		old["refresh_token"] = stays
		crm := map[string]any{"id": 7, "tenant_id": nil, "email": "old", "phone": stays}
		for made, change := range map[*Sealer]Update{
			sealer(t, &memoryKMS{}, Config{}):                       {Table: "oauth_tokens", Old: old, Set: map[string]any{"access_token": "n"}},
			sealer(t, &memoryKMS{}, Config{Profile: crmProfile(t)}): {Table: "customers", Old: crm, Set: map[string]any{"email": "x"}},
		} {
			if _, err := made.Update(ctx, change); !errors.Is(err, ErrRefused) {
				t.Fatal(stays, err)
			}
		}
	}
	made := sealer(t, &memoryKMS{}, Config{})
	for _, stays := range []any{[]byte("fr\u00e9sh"), sql.NullString{String: "fr\u00e9sh", Valid: true}, sql.RawBytes("fr\u00e9sh")} {
		old := vodRow()
		old["refresh_token"] = stays
		if row := update(t, made, old, map[string]any{"access_token": "n"}); openedIn(t, made, row, "refresh_token") != "fr\u00e9sh" {
			t.Fatal(stays)
		}
	}
}
