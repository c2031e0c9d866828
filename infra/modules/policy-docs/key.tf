# Who administers the key, who uses it directly, and who may not.
locals {
  key = var.key == null ? { administrators = [], application_roles = [], migrator_roles = [], exclusive = false } : var.key

  # No cryptographic action, and no CreateGrant, which would hand one out.
  administration = [
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:ReplicateKey",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
    "kms:UpdatePrimaryRegion",
  ]

  key_users = distinct(concat(local.key.application_roles, local.key.migrator_roles))

  key_statements = concat(
    [local.account_statement],
    [for statement in [{
      Sid       = "Administration"
      Effect    = "Allow"
      Principal = { AWS = local.key.administrators }
      Action    = local.administration
      Resource  = "*"
    }] : statement if length(local.key.administrators) > 0],
    [for statement in [
      {
        Sid       = "UseDataKeys"
        Effect    = "Allow"
        Principal = { AWS = local.key_users }
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "*"
        Condition = local.context_condition
      },
      {
        Sid       = "DescribeKey"
        Effect    = "Allow"
        Principal = { AWS = local.key_users }
        Action    = "kms:DescribeKey"
        Resource  = "*"
      },
    ] : statement if length(local.key_users) > 0],
    [for statement in [{
      Sid       = "Rewrap"
      Effect    = "Allow"
      Principal = { AWS = local.key.migrator_roles }
      Action    = ["kms:ReEncryptFrom", "kms:ReEncryptTo"]
      Resource  = "*"
      Condition = local.context_condition
    }] : statement if length(local.key.migrator_roles) > 0],
    [for statement in [{
      Sid       = "NobodyElseUsesIt"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action = [
        "kms:CreateGrant",
        "kms:Decrypt",
        "kms:Encrypt",
        "kms:GenerateDataKey",
        "kms:GenerateDataKeyPair",
        "kms:GenerateDataKeyPairWithoutPlaintext",
        "kms:GenerateDataKeyWithoutPlaintext",
        "kms:ReEncryptFrom",
        "kms:ReEncryptTo",
      ]
      Resource  = "*"
      Condition = { StringNotEquals = { "aws:PrincipalArn" = local.key_users } }
    }] : statement if local.key.exclusive],
  )
}
