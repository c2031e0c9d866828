package awskms_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"tokenseal"
	"tokenseal/awskms"
)

var ctx = context.Background()

func client(t *testing.T, url string) *kms.Client {
	t.Helper()
	if os.Getenv("TOKENSEAL_TEST_MOTO_URL") == "" {
		t.Skip("moto does not run")
	}
	return kms.New(kms.Options{
		Region:           "us-east-1",
		Credentials:      credentials.NewStaticCredentialsProvider("testing", "testing", ""),
		EndpointResolver: kms.EndpointResolverFromURL(url),
		RetryMaxAttempts: 1,
	})
}

func key(t *testing.T, client *kms.Client) (arn, alias string) {
	t.Helper()
	made, err := client.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	alias = "alias/clients-" + rand.Text()
	if _, err := client.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: &alias, TargetKeyId: made.KeyMetadata.Arn}); err != nil {
		t.Fatal(err)
	}
	return *made.KeyMetadata.Arn, alias
}

func cell(row string) tokenseal.Cell {
	return tokenseal.Cell{
		Table: "oauth_tokens", Column: "access_token", Row: map[string]any{"provider": "twitch", "channel": row},
	}
}

func TestValuesAreSealedAndOpenedWithTheSDK(t *testing.T) {
	client := client(t, os.Getenv("TOKENSEAL_TEST_MOTO_URL"))
	arn, alias := key(t, client)
	for _, format := range []string{"v2", "v3"} {
		sealer, err := tokenseal.New(awskms.New(client), tokenseal.Config{KeyID: alias, EnvelopeFormat: format})
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := sealer.Seal(ctx, "a token", cell("me"))
		if err != nil || sealed.KeyID != arn {
			t.Fatal(sealed.KeyID, err)
		}
		claiming := cell("me")
		claiming.KeyID, claiming.Version = sealed.KeyID, aws.Int(sealed.Version)
		if opened, err := sealer.Open(ctx, sealed.Text, claiming); opened != "a token" {
			t.Fatal(err)
		}
		if _, err := sealer.Open(ctx, sealed.Text, cell("other")); !errors.Is(err, tokenseal.ErrNotAuthentic) {
			t.Fatal(err)
		}
		other, _ := key(t, client)
		strict, err := tokenseal.New(awskms.New(client), tokenseal.Config{KeyID: other})
		if err != nil {
			t.Fatal(err)
		}
		var failed *tokenseal.KeyServiceError
		if _, err := strict.Open(ctx, sealed.Text, cell("me")); !errors.As(err, &failed) {
			t.Fatal(err)
		}
	}
}

func TestAKeyThatIsNotThereAndAServiceThatIsAwayAreDistinguished(t *testing.T) {
	for url, kind := range map[string]string{os.Getenv("TOKENSEAL_TEST_MOTO_URL"): "not_found", "http://127.0.0.1:9": "unavailable"} {
		sealer, err := tokenseal.New(awskms.New(client(t, url)), tokenseal.Config{KeyID: "alias/none-of-that-name"})
		if err != nil {
			t.Fatal(err)
		}
		var failed *tokenseal.KeyServiceError
		if _, err := sealer.Seal(ctx, "x", cell("me")); !errors.As(err, &failed) || failed.Kind != kind {
			t.Fatal(err)
		}
	}
}

func TestCredentialsThatAServiceDoesNotGiveInTimeMayComeLater(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for kind, provider := range map[string]aws.CredentialsProviderFunc{
		"unavailable": func(context.Context) (aws.Credentials, error) { return aws.Credentials{}, refused },
		"timeout": func(ctx context.Context) (aws.Credentials, error) {
			time.Sleep(500 * time.Millisecond)
			return aws.Credentials{}, ctx.Err()
		},
	} {
		for _, credentials := range []aws.CredentialsProvider{provider, aws.NewCredentialsCache(provider)} {
			client := kms.New(kms.Options{
				Region: "us-east-1", Credentials: credentials, RetryMaxAttempts: 1,
				EndpointResolver: kms.EndpointResolverFromURL("http://127.0.0.1:9"),
			})
			sealer, err := tokenseal.New(awskms.New(client), tokenseal.Config{KeyID: "alias/any"})
			if err != nil {
				t.Fatal(err)
			}
			ending, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			_, err = sealer.Seal(ending, "x", cell("me"))
			cancel()
			var failed *tokenseal.KeyServiceError
			if !errors.As(err, &failed) || failed.Kind != kind || !failed.IsRetryable() {
				t.Fatal(kind, err)
			}
		}
	}
}

func TestMissingCredentialsAndAMissingRegionAreMisconfigured(t *testing.T) {
	url := os.Getenv("TOKENSEAL_TEST_MOTO_URL")
	given := credentials.NewStaticCredentialsProvider("testing", "testing", "")
	for what, options := range map[string]kms.Options{
		"no region":      {Credentials: given, EndpointResolver: kms.NewDefaultEndpointResolver()},
		"no credentials": {Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("", "", ""), EndpointResolver: kms.EndpointResolverFromURL(url)},
	} {
		options.RetryMaxAttempts = 1
		sealer, err := tokenseal.New(awskms.New(kms.New(options)), tokenseal.Config{KeyID: "alias/any"})
		if err != nil {
			t.Fatal(err)
		}
		var failed *tokenseal.KeyServiceError
		if _, err := sealer.Seal(ctx, "x", cell("me")); !errors.As(err, &failed) || failed.Kind != "misconfigured" || failed.IsRetryable() {
			t.Fatal(what, err)
		}
	}
}
