# Around named secrets. Here kms:ViaService is right: Secrets Manager makes the calls to KMS, and its context names the secret.
locals {
  secrets = var.secrets == null ? {
    secret_arns       = ["*"], key_arn = "*", reader_roles = [], operator_roles = [], rotation_roles = [],
    rotation_function = null, exclusive = false,
  } : var.secrets

  via_secrets_manager = {
    StringEquals = { "kms:ViaService" = local.secrets_manager_endpoint }
    StringLike   = { "kms:EncryptionContext:SecretARN" = local.secrets.secret_arns }
  }

  secret_users = distinct(concat(local.secrets.reader_roles, local.secrets.operator_roles, local.secrets.rotation_roles))

  operator_actions = [
    "secretsmanager:CancelRotateSecret",
    "secretsmanager:DeleteSecret",
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
    "secretsmanager:ListSecretVersionIds",
    "secretsmanager:PutSecretValue",
    "secretsmanager:RestoreSecret",
    "secretsmanager:RotateSecret",
    "secretsmanager:TagResource",
    "secretsmanager:UntagResource",
    "secretsmanager:UpdateSecret",
    "secretsmanager:UpdateSecretVersionStage",
  ]

  rotation_actions = [
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue",
    "secretsmanager:UpdateSecretVersionStage",
  ]

  secrets_reader_statements = [
    {
      # Not AWSPENDING: readers must not see a value before its rotation has finished.
      Sid       = "ReadSecrets"
      Effect    = "Allow"
      Action    = ["secretsmanager:GetSecretValue"]
      Resource  = local.secrets.secret_arns
      Condition = { StringEqualsIfExists = { "secretsmanager:VersionStage" = ["AWSCURRENT", "AWSPREVIOUS"] } }
    },
    {
      Sid      = "DescribeSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:DescribeSecret"]
      Resource = local.secrets.secret_arns
    },
    {
      # It names no secret: each of the batch must still be allowed above.
      Sid      = "ReadInBatches"
      Effect   = "Allow"
      Action   = ["secretsmanager:BatchGetSecretValue"]
      Resource = "*"
    },
    {
      Sid       = "OpenThem"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = local.secrets.key_arn
      Condition = local.via_secrets_manager
    },
  ]

  secrets_operator_statements = [
    {
      Sid      = "OperateSecrets"
      Effect   = "Allow"
      Action   = concat(["secretsmanager:CreateSecret"], local.operator_actions)
      Resource = local.secrets.secret_arns
    },
    {
      Sid      = "ListSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:BatchGetSecretValue", "secretsmanager:ListSecrets"]
      Resource = "*"
    },
    {
      Sid       = "SealAndOpenThem"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = local.secrets.key_arn
      Condition = local.via_secrets_manager
    },
  ]

  rotation_statements = [
    merge(
      {
        Sid      = "RotateSecrets"
        Effect   = "Allow"
        Action   = local.rotation_actions
        Resource = local.secrets.secret_arns
      },
      # Only secrets that name this very function as theirs.
      local.secrets.rotation_function == null ? {} : {
        Condition = { StringEquals = { "secretsmanager:resource/AllowRotationLambdaArn" = local.secrets.rotation_function } }
      },
    ),
    {
      Sid      = "MakePasswords"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetRandomPassword"]
      Resource = "*"
    },
    {
      Sid       = "SealAndOpenThem"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = local.secrets.key_arn
      Condition = local.via_secrets_manager
    },
  ]

  secret_resource_statements = concat(
    [{
      Sid       = "OnlyOverTls"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "secretsmanager:*"
      Resource  = "*"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }],
    [for statement in [{
      Sid       = "NobodyElseReadsIt"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "secretsmanager:GetSecretValue"
      Resource  = "*"
      Condition = { StringNotEquals = { "aws:PrincipalArn" = local.secret_users } }
    }] : statement if local.secrets.exclusive],
    local.secret_role_statements,
    var.additional_secret_statements,
  )

  # The roles need no identity policy of their own for the listed actions.
  secret_role_statements = [for statement in [
    {
      Sid       = "ReadersRead"
      Effect    = "Allow"
      Principal = { AWS = local.secrets.reader_roles }
      Action    = ["secretsmanager:GetSecretValue"]
      Resource  = "*"
      Condition = { StringEqualsIfExists = { "secretsmanager:VersionStage" = ["AWSCURRENT", "AWSPREVIOUS"] } }
    },
    {
      Sid       = "ReadersDescribe"
      Effect    = "Allow"
      Principal = { AWS = local.secrets.reader_roles }
      Action    = ["secretsmanager:DescribeSecret"]
      Resource  = "*"
    },
    {
      Sid       = "OperatorsOperate"
      Effect    = "Allow"
      Principal = { AWS = local.secrets.operator_roles }
      Action    = local.operator_actions
      Resource  = "*"
    },
    {
      Sid       = "FunctionsRotate"
      Effect    = "Allow"
      Principal = { AWS = local.secrets.rotation_roles }
      Action    = local.rotation_actions
      Resource  = "*"
    },
  ] : statement if length(statement.Principal.AWS) > 0]

  secrets_key   = var.secrets_key == null ? { reader_roles = [], writer_roles = [] } : var.secrets_key
  via_condition = { StringEquals = { "kms:ViaService" = local.secrets_manager_endpoint } }

  secrets_key_statements = concat([
    local.account_statement,
    {
      # Only the service's own calls, for the callers that IAM allows: no one opens a secret past Secrets Manager.
      Sid       = "OnlyThroughSecretsManager"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action = [
        "kms:Decrypt",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
      ]
      Resource  = "*"
      Condition = { StringNotEquals = { "kms:ViaService" = local.secrets_manager_endpoint } }
    },
    ],
    [for statement in [
      {
        Sid       = "ReadersThroughSecretsManager"
        Effect    = "Allow"
        Principal = { AWS = local.secrets_key.reader_roles }
        Action    = ["kms:Decrypt"]
        Resource  = "*"
        Condition = local.via_condition
      },
      {
        Sid       = "WritersThroughSecretsManager"
        Effect    = "Allow"
        Principal = { AWS = local.secrets_key.writer_roles }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "*"
        Condition = local.via_condition
      },
    ] : statement if length(statement.Principal.AWS) > 0],
  )
}
