// Package awskms makes a tokenseal.KMS of the AWS SDK's client.
package awskms

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tokenseal"
)

// API has the methods of *kms.Client that are used.
type API interface {
	GenerateDataKey(context.Context, *kms.GenerateDataKeyInput, ...func(*kms.Options)) (*kms.GenerateDataKeyOutput, error)
	Decrypt(context.Context, *kms.DecryptInput, ...func(*kms.Options)) (*kms.DecryptOutput, error)
	DescribeKey(context.Context, *kms.DescribeKeyInput, ...func(*kms.Options)) (*kms.DescribeKeyOutput, error)
}

type client struct{ api API }

// New wraps the SDK's client, whose timeouts and retries stay in force.
func New(api API) tokenseal.KMS { return client{api} }

func (c client) GenerateDataKey(
	ctx context.Context, keyID string, encryptionContext map[string]string,
) (tokenseal.DataKey, error) {
	answer, err := c.api.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId: &keyID, KeySpec: types.DataKeySpecAes256, EncryptionContext: encryptionContext,
	})
	if err != nil {
		return tokenseal.DataKey{}, failure("GenerateDataKey", err)
	}
	return tokenseal.DataKey{Plaintext: answer.Plaintext, Wrapped: answer.CiphertextBlob, KeyID: text(answer.KeyId)}, nil
}

func (c client) Decrypt(
	ctx context.Context, keyID string, wrapped []byte, encryptionContext map[string]string,
) (tokenseal.DataKey, error) {
	answer, err := c.api.Decrypt(ctx, &kms.DecryptInput{
		KeyId: &keyID, CiphertextBlob: wrapped, EncryptionContext: encryptionContext,
	})
	if err != nil {
		return tokenseal.DataKey{}, failure("Decrypt", err)
	}
	return tokenseal.DataKey{Plaintext: answer.Plaintext, KeyID: text(answer.KeyId)}, nil
}

func (c client) DescribeKey(ctx context.Context, keyID string) (string, error) {
	answer, err := c.api.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: &keyID})
	if err != nil {
		return "", failure("DescribeKey", err)
	}
	if answer.KeyMetadata == nil {
		return "", tokenseal.NewKeyServiceError("unavailable", "the answer to DescribeKey is not one of AWS KMS")
	}
	return text(answer.KeyMetadata.Arn), nil
}

// failure keeps the code and the status alone: the SDK's own words may hold the raw answer.
func failure(operation string, err error) error {
	var answered smithy.APIError
	if errors.As(err, &answered) {
		var response *smithyhttp.ResponseError
		status := 0
		if errors.As(err, &response) {
			status = response.HTTPStatusCode()
		}
		return tokenseal.ErrorOfCode(operation, answered.ErrorCode(), status)
	}
	// Before the others: fetching the credentials may be what did not end in time.
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return tokenseal.NewKeyServiceError("timeout", "AWS KMS: "+operation+" did not end in time")
	}
	if isMisconfigured(err) {
		return tokenseal.NewKeyServiceError("misconfigured", "AWS KMS: "+operation+" needs credentials and a Region, and one is missing")
	}
	return tokenseal.NewKeyServiceError("unavailable", "AWS KMS: "+operation+" could not be sent or was not answered")
}

// isMisconfigured: no Region, or no credentials. The SDK has no types for most of these errors. Credentials that could not be
// fetched are not among them: the service that gives them may be away.
func isMisconfigured(err error) bool {
	var noRegion *aws.MissingRegionError
	var empty *credentials.StaticCredentialsEmptyError
	if errors.As(err, &noRegion) || errors.As(err, &empty) {
		return true
	}
	for _, words := range []string{
		"an AWS region is required", "Missing Region", "Invalid Configuration: Missing", "no EC2 IMDS role found",
	} {
		if strings.Contains(err.Error(), words) {
			return true
		}
	}
	return false
}

func text(value *string) string {
	if value == nil {
		return ""
	}
	return *value
}
