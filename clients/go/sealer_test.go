package tokenseal

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

var forms = []Config{{}, {EnvelopeFormat: "v3"}, {Binding: "off"}}

func TestWhatIsSealedOpensWhateverTheReaderWrites(t *testing.T) {
	kms := &memoryKMS{}
	for _, text := range []string{"x", "tök€n-ünï-🔑\x00 \"'\\", "\ufeffkms:v2:", strings.Repeat("y", 65_536)} {
		for _, form := range forms {
			sealed, err := sealer(t, kms, form).Seal(ctx, text, vodCell())
			if err != nil || sealed.KeyID != arn || sealed.Version != 2 || sealed.Method != "kms-envelope" {
				t.Fatalf("%v %v", sealed, err)
			}
			for _, other := range forms {
				cell := vodCell()
				cell.Version, cell.KeyID = sealed.Version, sealed.KeyID
				if opened, err := sealer(t, kms, other).Open(ctx, sealed.Text, cell); err != nil || opened != text {
					t.Fatalf("%v", err)
				}
			}
		}
	}
}

func TestTheEmptyStringStaysEmptyAndCostsNoCall(t *testing.T) {
	kms := &memoryKMS{}
	sealed, err := sealer(t, kms, Config{}).Seal(ctx, "", vodCell())
	opened, openErr := sealer(t, kms, Config{}).Open(ctx, "", vodCell())
	if err != nil || openErr != nil || opened != "" || sealed != (Sealed{"", "", 2, "kms-envelope"}) || kms.calls != nil {
		t.Fatal(sealed, err, openErr, kms.calls)
	}
}

func TestAMovedValueDoesNotOpenEvenWithAWarmCache(t *testing.T) {
	changes := []func(*Cell){
		func(c *Cell) { c.Row = map[string]any{"id": 8} },
		func(c *Cell) { c.Owner = map[string]any{"tenant_id": "other"} },
		func(c *Cell) { c.Owner = map[string]any{"tenant_id": nil} },
		func(c *Cell) { c.Column = "phone" },
	}
	for _, form := range forms[:2] {
		form.Profile = crmProfile(t)
		made := sealer(t, &memoryKMS{}, form)
		sealed, _ := made.Seal(ctx, canary, crmCell())
		if opened, err := made.Open(ctx, sealed.Text, crmCell()); opened != canary {
			t.Fatal(err)
		}
		for _, change := range changes {
			cell := crmCell()
			change(&cell)
			if opened, err := made.Open(ctx, sealed.Text, cell); !errors.Is(err, ErrNotAuthentic) || opened != "" {
				t.Fatal(opened, err)
			}
		}
	}
}

func TestEveryChangedByteAndEveryTruncationIsRefused(t *testing.T) {
	for _, form := range forms[:2] {
		form.Profile = crmProfile(t)
		made := sealer(t, &memoryKMS{}, form)
		sealed, _ := made.Seal(ctx, canary, crmCell())
		for at := range sealed.Text {
			changed := []string{sealed.Text[:at]}
			for _, each := range []string{"A", "B", "=", " ", "", "\n"} {
				changed = append(changed, sealed.Text[:at]+each+sealed.Text[at+1:])
			}
			for _, text := range changed {
				opened, err := made.Open(ctx, text, crmCell())
				if text != "" && text != sealed.Text && (!errors.Is(err, ErrTokenseal) || opened != "") {
					t.Fatalf("%d %q", at, text)
				}
			}
		}
	}
}

func TestATextThatContradictsItsVersionIsNeverReturned(t *testing.T) {
	made := sealer(t, &memoryKMS{}, Config{EncryptionKey: base64.StdEncoding.EncodeToString(make([]byte, 32))})
	sealed, _ := made.Seal(ctx, "x", vodCell())
	refuse := func(text string, version any) {
		t.Helper()
		cell := vodCell()
		cell.Version = version
		if opened, err := made.Open(ctx, text, cell); !errors.Is(err, ErrMalformed) || opened != "" {
			t.Fatalf("%q %v: %v", text, version, err)
		}
	}
	for _, text := range []string{"gho_plain", "v1|x", "kms:v9:AAAA", " kms:v2:AAAA", strings.Repeat("A", 80)} {
		refuse(text, 2)
	}
	for _, version := range []any{0, 1, Null, (*int)(nil), sql.NullInt64{}, "0"} {
		refuse(sealed.Text, version)
	}
	for _, version := range []any{3, -1, "x", true, "02", 2.0} {
		refuse("gho_plain", version)
	}
}

func TestPlaintextIsReadOnlyWhereTheVersionColumnSaysSo(t *testing.T) {
	made := sealer(t, &memoryKMS{}, Config{})
	for _, version := range []any{0, int64(0), uint8(0), "0", Null, (*int)(nil), sql.NullInt64{}, sql.NullInt32{Valid: true}} {
		cell := vodCell()
		cell.Version = version
		for _, text := range []string{"gho_plain", `{"broken`} {
			if opened, err := made.Open(ctx, text, cell); opened != text {
				t.Fatalf("%T %v", version, err)
			}
		}
	}
	if _, err := made.Open(ctx, "gho_plain", vodCell()); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	crm := sealer(t, &memoryKMS{}, Config{Profile: crmProfile(t)})
	if _, err := crm.Open(ctx, "plain@example.org", crmCell()); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
}

func TestPoliciesMeanWhatTheyMeanInThePrograms(t *testing.T) {
	kms := &memoryKMS{}
	bound, _ := sealer(t, kms, Config{}).Seal(ctx, "x", vodCell())
	plain, _ := sealer(t, kms, Config{Binding: "off"}).Seal(ctx, "x", vodCell())
	direct := readVectors[struct{ Vectors []formatVector }](t, "formats.json").Vectors[0]
	opens := func(text string, version int, config Config) bool {
		t.Helper()
		config.EncryptionKey = direct.EncryptionKey
		cell := vodCell()
		cell.Version = version
		opened, err := sealer(t, kms, config).Open(ctx, text, cell)
		if err != nil && !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
		return opened == "x"
	}
	got := []bool{
		opens("x", 0, Config{PlaintextPolicy: "allow-read"}), opens("x", 0, Config{PlaintextPolicy: "forbid"}),
		opens(plain.Text, 2, Config{}), opens(plain.Text, 2, Config{Binding: "require"}),
	}
	for _, floor := range []string{"any", "envelope", "bound"} {
		config := Config{Floor: floor}
		got = append(got, opens("x", 0, config), opens(direct.Stored, 1, config), opens(plain.Text, 2, config), opens(bound.Text, 2, config))
	}
	expected := []bool{
		true, false, true, false,
		true, true, true, true,
		false, false, true, true,
		false, false, false, true,
	}
	if !reflect.DeepEqual(got, expected) {
		t.Fatal(got)
	}
}

func TestTheEnvironmentConfiguresWhatIsNotGiven(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("ENVELOPE_FORMAT", "v3")
	t.Setenv("KMS_KEY_ID", arn)
	t.Setenv("ENCRYPTION_CONTEXT", "Application=a,Purpose=b")
	t.Setenv("ENCRYPTION_KEY_FILE", file)
	made, err := New(&memoryKMS{}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := made.Seal(ctx, "x", vodCell())
	if err != nil || !strings.HasPrefix(sealed.Text, v3Mark) || made.profile.context["Application"] != "a" {
		t.Fatal(sealed, err)
	}
	given, _ := LoadProfile("vod-tender")
	chosen, _ := given.WithContext(map[string]string{"Application": "c"})
	for profile, application := range map[*Profile]string{given: "a", chosen: "c"} {
		if made, err := New(&memoryKMS{}, Config{Profile: profile}); err != nil || made.profile.context["Application"] != application {
			t.Fatal(err)
		}
	}
	for name, value := range map[string]string{
		"ENVELOPE_FORMAT": "v4", "BINDING": "maybe", "PLAINTEXT_POLICY": "no", "READ_FLOOR": "low", "DEK_CACHE_TTL": "soon",
		"DEK_CACHE_MAX": "-1", "ENCRYPTION_CONTEXT": "table=x", "ENCRYPTION_KEY": key, "KMS_KEY_ID": "keyring:k",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			if _, err := New(&memoryKMS{}, Config{}); !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
		})
	}
}

func TestNumbersAndFilesOfSecretsAreTakenAsTheProgramsTakeThem(t *testing.T) {
	for text, expected := range map[string]int{
		"5": 5, "+5": 5, "007": 7, " 5 ": 5, "9999999999": 9_999_999_999, "18446744073709551615": math.MaxInt,
	} {
		t.Setenv("DEK_CACHE_MAX", text)
		if most, err := cacheMax(0); err != nil || most != expected {
			t.Fatal(text, most, err)
		}
	}
	for _, text := range []string{"-5", "++5", "+", "1_0", "5.0", "1e3", "18446744073709551616", "0x5"} {
		t.Setenv("DEK_CACHE_MAX", text)
		if _, err := cacheMax(0); !errors.Is(err, ErrConfiguration) {
			t.Fatal(text, err)
		}
	}
	file := filepath.Join(t.TempDir(), "key")
	t.Setenv("ENCRYPTION_KEY_FILE", file)
	for _, content := range []string{"", "\n", "\r\n", " ", " \n\n"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := directKey(""); !errors.Is(err, ErrConfiguration) || !strings.Contains(err.Error(), "empty") {
			t.Fatalf("%q %v", content, err)
		}
	}
	t.Setenv("ENCRYPTION_KEY_FILE", "")
	if key, err := directKey(""); key != nil || err != nil {
		t.Fatal(err)
	}
}

func TestUnusableSettingsAreRefused(t *testing.T) {
	for _, config := range []Config{
		{EnvelopeFormat: "v1"}, {EnvelopeFormat: "v3", Binding: "off"}, {Binding: "off", Floor: "bound"}, {Suite: "rot13"},
		{EncryptionKey: "c2hvcnQ="}, {KeyID: "keyring:keys.json"}, {KeyID: "vault:transit"}, {KeyID: arn + "," + otherARN},
		{KeyID: "arn:aws:s3:::bucket"}, {AllowedKeys: []string{"a b"}},
	} {
		if config.KeyID == "" {
			config.KeyID = arn
		}
		if _, err := New(&memoryKMS{}, config); !errors.Is(err, ErrRefused) {
			t.Fatal(config, err)
		}
	}
	if _, err := New(nil, Config{KeyID: arn}); !errors.Is(err, ErrConfiguration) {
		t.Fatal(err)
	}
}

func TestAProfileThatCouldBindWronglyIsRefused(t *testing.T) {
	table := func(change map[string]any) []any {
		fields := map[string]any{"name": "t", "key": []any{"id"}, "tokens": []any{"a"}}
		for name, value := range change {
			fields[name] = value
		}
		return []any{fields}
	}
	for _, change := range []map[string]any{
		{"extra": 1}, {"name": ""}, {"context": nil}, {"context": map[string]any{"id": "x"}}, {"context": map[string]any{"table": "x"}},
		{"context": map[string]any{"a": 1}}, {"tables": []any{}}, {"floor": "high"}, {"unmarked": "maybe"},
		{"tables": table(map[string]any{"key": []any{}})}, {"tables": table(map[string]any{"tokens": []any{"id"}})},
		{"tables": table(map[string]any{"bound_As": "x"})},
		{"tables": table(map[string]any{"bound_columns": map[string]any{"b": "x"}})},
		{"tables": table(map[string]any{"tokens": []any{"a", "b"}, "bound_columns": map[string]any{"b": "a"}})},
		{"tables": append(table(nil), table(nil)...)},
		{"tables": table(map[string]any{"types": map[string]any{"a": "text"}})},
		{"tables": append(table(nil), table(map[string]any{"name": "u", "bound_as": "t"})...)},
	} {
		fields := map[string]any{"name": "p", "context": map[string]any{"a": "b"}, "tables": table(nil)}
		profile(t, fields)
		for name, value := range change {
			fields[name] = value
		}
		if _, err := NewProfile(fields); !errors.Is(err, ErrConfiguration) {
			t.Fatal(change, err)
		}
	}
	for _, name := range []string{"nothing.toml", "/nonexistent.json"} {
		if _, err := LoadProfile(name); !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
	}
	for _, name := range builtInNames {
		if loaded, err := LoadProfile(name); err != nil || loaded.Name() != name {
			t.Fatal(err)
		}
	}
}

func TestAKeyThatIsNotAllowedIsRefusedBeforeAnyCallEvenWithAWarmCache(t *testing.T) {
	kms := &memoryKMS{}
	foreign, _ := sealer(t, kms, Config{KeyID: otherARN}).Seal(ctx, canary, vodCell())
	claiming := func(keyID string) Cell { cell := vodCell(); cell.KeyID = keyID; return cell }
	both := sealer(t, kms, Config{AllowedKeys: []string{otherARN}})
	for _, claim := range []string{otherARN, ""} {
		if opened, err := both.Open(ctx, foreign.Text, claiming(claim)); opened != canary {
			t.Fatal(err)
		}
	}
	strict := sealer(t, kms, Config{})
	own, _ := strict.Seal(ctx, canary, vodCell())
	if _, err := strict.Open(ctx, own.Text, claiming(arn)); err != nil {
		t.Fatal(err)
	}
	kms.calls = nil
	for _, text := range []string{own.Text, foreign.Text} {
		if _, err := strict.Open(ctx, text, claiming(otherARN)); !errors.Is(err, ErrRefused) || kms.calls != nil {
			t.Fatal(err, kms.calls)
		}
	}
	var failed *KeyServiceError
	if _, err := strict.Open(ctx, foreign.Text, vodCell()); !errors.As(err, &failed) || failed.Kind != "wrong_key" {
		t.Fatal(err)
	}
	sealed, _ := sealer(t, kms, Config{KeyID: alias}).Seal(ctx, "x", vodCell())
	fresh := sealer(t, kms, Config{KeyID: alias})
	for _, claim := range []string{arn, alias, ""} {
		if opened, err := fresh.Open(ctx, sealed.Text, claiming(claim)); opened != "x" {
			t.Fatal(claim, err)
		}
	}
	if _, err := fresh.Open(ctx, sealed.Text, claiming(otherARN)); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
}

func TestAnAnswerForAnotherKeyOrNoneOfKMSSealsNothing(t *testing.T) {
	good, _ := sealer(t, &memoryKMS{}, Config{}).Seal(ctx, "x", vodCell())
	for _, change := range []func(*DataKey){
		func(k *DataKey) { k.KeyID = otherARN }, func(k *DataKey) { k.KeyID = "" }, func(k *DataKey) { k.Plaintext = nil },
		func(k *DataKey) { k.Plaintext = make([]byte, 32) }, func(k *DataKey) { k.Wrapped = nil },
	} {
		if sealed, err := sealer(t, &memoryKMS{change: change}, Config{}).Seal(ctx, "x", vodCell()); !errors.Is(err, ErrKeyService) || sealed.Text != "" {
			t.Fatal(sealed, err)
		}
	}
	wrong := &memoryKMS{change: func(k *DataKey) { k.KeyID = otherARN }}
	if _, err := sealer(t, wrong, Config{}).Open(ctx, good.Text, vodCell()); !errors.Is(err, ErrKeyService) {
		t.Fatal(err)
	}
}

func TestFailuresOfTheKeyServiceAreDistinguishedAndCarryNoTextOfIt(t *testing.T) {
	for code, kind := range map[string]string{
		"AccessDeniedException": "denied", "ExpiredTokenException": "denied", "NotFoundException": "not_found",
		"DisabledException": "disabled", "KMSInvalidStateException": "pending_deletion", "ThrottlingException": "throttled",
		"KMSInternalException": "unavailable", "DependencyTimeoutException": "timeout", "ValidationException": "invalid_request",
		"": "unavailable",
	} {
		kms := &memoryKMS{failure: ErrorOfCode("Decrypt", code, 400)}
		if code == "" {
			kms.failure = errors.New(canary)
		}
		_, err := sealer(t, kms, Config{}).Seal(ctx, canary, vodCell())
		var failed *KeyServiceError
		if !errors.As(err, &failed) || failed.Kind != kind || strings.Contains(err.Error(), canary) || !errors.Is(err, ErrTokenseal) {
			t.Fatal(code, err)
		}
	}
}

func TestARefusalOfAnUnknownKindIsDenied(t *testing.T) {
	for _, status := range []int{401, 403} {
		var failed *KeyServiceError
		if err := ErrorOfCode("Decrypt", "OfALaterServiceException", status); !errors.As(err, &failed) || failed.Kind != "denied" {
			t.Fatal(err)
		}
	}
}

func TestAFieldOfAProfileThatIsNullIsOneThatIsNotGiven(t *testing.T) {
	table := map[string]any{
		"name": "t", "key": []any{"id"}, "tokens": []any{"a"}, "owner": nil, "version": nil, "types": nil, "later": nil,
	}
	parsed := map[string]any{"name": "p", "context": map[string]any{"a": "b"}, "tables": []any{table}, "floor": nil, "later": nil}
	if made := profile(t, parsed); made.floor != "any" {
		t.Fatal(made.floor)
	}
}

func TestTheCacheSavesCallsIsBoundedAndKeepsNoFailure(t *testing.T) {
	kms := &memoryKMS{}
	made := sealer(t, kms, Config{CacheMax: 2})
	var texts []string
	for _, value := range []string{"0", "1", "2"} {
		sealed, _ := made.Seal(ctx, value, vodCell())
		texts = append(texts, sealed.Text)
	}
	open := func(at int) error {
		opened, err := made.Open(ctx, texts[at], vodCell())
		if err == nil && opened != fmt.Sprint(at) {
			t.Fatal(opened)
		}
		return err
	}
	kms.calls = nil
	for _, at := range []int{0, 0, 0, 1, 2, 0} {
		if err := open(at); err != nil {
			t.Fatal(err)
		}
	}
	if len(kms.calls) != 4 {
		t.Fatal(kms.calls)
	}
	kms.failure = ErrorOfCode("Decrypt", "ThrottlingException", 400)
	if open(0) != nil || open(1) == nil {
		t.Fatal("a cached key was not served, or a failure was")
	}
	kms.failure = nil
	if err := open(1); err != nil {
		t.Fatal(err)
	}
}

func TestManyColdReadersOfOneValueMakeOneCall(t *testing.T) {
	kms := &memoryKMS{wait: make(chan struct{})}
	made := sealer(t, kms, Config{})
	sealed, _ := made.Seal(ctx, "x", vodCell())
	var group sync.WaitGroup
	for range 100 {
		group.Add(1)
		go func() {
			defer group.Done()
			if opened, err := made.Open(ctx, sealed.Text, vodCell()); opened != "x" {
				t.Error(err)
			}
		}()
	}
	close(kms.wait)
	group.Wait()
	if len(kms.calls) != 2 {
		t.Fatal(kms.calls)
	}
}

func TestNoErrorCarriesAValueAKeyOrAStoredText(t *testing.T) {
	legacy := func(_ context.Context, text string, _ LegacyCell) (string, error) { return "", errors.New(text) }
	made := sealer(t, &memoryKMS{}, Config{Profile: crmProfile(t), Legacy: legacy})
	sealed, _ := made.Seal(ctx, canary, crmCell())
	with := func(change func(*Cell)) Cell { cell := crmCell(); change(&cell); return cell }
	for _, each := range []struct {
		text string
		cell Cell
	}{
		{sealed.Text[:len(sealed.Text)-4] + "AAAA", crmCell()}, {canary, crmCell()},
		{canary, with(func(c *Cell) { c.Version = 1 })}, {canary, with(func(c *Cell) { c.Version = 2 })},
		{canary, with(func(c *Cell) { c.Row = map[string]any{"id": canary} })},
		{canary, with(func(c *Cell) { c.Owner = map[string]any{"tenant_id": 5} })},
		{"\xff" + canary, crmCell()}, {v2Mark + canary, crmCell()}, {v3Mark + canary, crmCell()},
	} {
		opened, err := made.Open(ctx, each.text, each.cell)
		shown := fmt.Sprintf("%v %+v %#v", err, err, err)
		if opened != "" || !errors.Is(err, ErrTokenseal) || strings.Contains(shown, canary) || strings.Contains(shown, sealed.Text[7:60]) {
			t.Fatal(shown)
		}
	}
	for _, value := range []string{strings.Repeat("x", 1<<20+1), "\xff"} {
		if _, err := made.Seal(ctx, value, crmCell()); !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
	}
}

func TestAWarmCacheDoesNotOpenAValueUnderAKeyThatItsRowDoesNotName(t *testing.T) {
	made := sealer(t, &memoryKMS{}, Config{AllowedKeys: []string{otherARN}})
	sealed, _ := made.Seal(ctx, canary, vodCell())
	for claim, wanted := range map[string]error{arn: nil, otherARN: ErrKeyService} {
		for range 2 {
			cell := vodCell()
			cell.KeyID = claim
			if _, err := made.Open(ctx, sealed.Text, cell); !errors.Is(err, wanted) {
				t.Fatal(claim, err)
			}
		}
	}
}

func TestAValueThatDoesNotCommitToItsKeyIsRefusedAlthoughItsTagIsRight(t *testing.T) {
	key, cell := make([]byte, 32), binding{table: "t", column: "c"}
	contentKey, commitment, err := derive(key, suiteAES, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	aead, _ := newAES(contentKey)
	for _, each := range [][]byte{commitment, make([]byte, 32)} {
		header := append(append([]byte{3, 4, 0x78, 0}, make([]byte, 32)...), each...)
		aad, _ := associatedData(header, cell)
		envelope := envelopeV3{suiteAES, header, []byte{0}, aead.Seal(nil, zeroNonce(), []byte("x"), aad)}
		opened, err := envelope.open(key, cell)
		if isRight := string(each) == string(commitment); isRight != (string(opened) == "x") || isRight == errors.Is(err, ErrNotAuthentic) {
			t.Fatal(opened, err)
		}
	}
}

func TestKeysOfTheBuiltInProfilesHaveTypes(t *testing.T) {
	upper := "6F9619FF-8B86-D011-B42D-00CF4FC964FF"
	cells := []struct {
		profile string
		cell    Cell
	}{
		{"vod-tender", Cell{Table: "oauth_tokens", Row: map[string]any{"provider": "2026-01-01", "channel": "007"}}},
		{"pulseplan", Cell{Table: "oauth_tokens", Row: map[string]any{"id": upper}, Owner: map[string]any{"user_id": upper}}},
	}
	for _, name := range []string{"gh", "jira", "slack", "confluence"} {
		cells = append(cells, struct {
			profile string
			cell    Cell
		}{"autonomous", Cell{Table: name + "_connection", Row: map[string]any{"id": "007"}}})
	}
	for _, each := range cells {
		profile, err := LoadProfile(each.profile)
		if err != nil {
			t.Fatal(err)
		}
		each.cell.Column = "access_token"
		made := sealer(t, &memoryKMS{}, Config{Profile: profile})
		sealed, err := made.Seal(ctx, canary, each.cell)
		if err != nil {
			t.Fatal(each.profile, err)
		}
		if opened, err := made.Open(ctx, sealed.Text, each.cell); err != nil || opened != canary {
			t.Fatal(each.profile, err)
		}
	}
}
