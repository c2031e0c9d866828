module tokenseal/awskms

go 1.24

require (
	tokenseal v0.0.0
	github.com/aws/aws-sdk-go-v2/service/kms v1.18.15
	github.com/aws/smithy-go v1.13.3
)

replace tokenseal => ../
