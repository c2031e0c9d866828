# Who administers the key, who uses it directly, and who may not.
locals {
  key = var.key == null ? {
    administrators = [], application_roles = [], migrator_roles = [], exclusive = false, break_glass_roles = [], replica_regions = null,
  } : var.key

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
    local.break_glass_statements,
    local.replica_statements,
    var.additional_key_statements,
  )

  # Neither PutKeyPolicy nor CancelKeyDeletion nor EnableKey is denied: a mistake in the list can be corrected, and a key
  # can be saved by every administrator.
  break_glass_statements = [for statement in [{
    Sid       = "OnlyBreakGlassStopsTheKey"
    Effect    = "Deny"
    Principal = { AWS = "*" }
    Action    = ["kms:DisableKey", "kms:ReplicateKey", "kms:ScheduleKeyDeletion", "kms:UpdatePrimaryRegion"]
    Resource  = "*"
    Condition = { StringNotEquals = { "aws:PrincipalArn" = local.key.break_glass_roles } }
  }] : statement if length(local.key.break_glass_roles) > 0]

  replica_statements = local.key.replica_regions == null ? [] : [
    {
      Sid       = "ReplicasOnlyInTheseRegions"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "kms:ReplicateKey"
      Resource  = "*"
      Condition = { StringNotEquals = { "kms:ReplicaRegion" = local.key.replica_regions } }
    },
    {
      Sid       = "PrimaryOnlyInTheseRegions"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = "kms:UpdatePrimaryRegion"
      Resource  = "*"
      Condition = { StringNotEquals = { "kms:PrimaryRegion" = local.key.replica_regions } }
    },
  ]
}
