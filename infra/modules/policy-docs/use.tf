# The permissions of the application's role and the migrator's role. DescribeKey knows no encryption context: in a statement with
# a context condition it would be denied, so it has one of its own.
locals {
  use = var.use == null ? { key_arns = ["*"], kms_direct = false, legacy_without_context = false } : var.use

  describe_statement = {
    Sid      = "DescribeKey"
    Effect   = "Allow"
    Action   = ["kms:DescribeKey"]
    Resource = local.use.key_arns
  }

  legacy_statements = [for statement in [{
    Sid       = "OpenWhatWasWrappedWithoutContext"
    Effect    = "Allow"
    Action    = ["kms:Decrypt"]
    Resource  = local.use.key_arns
    Condition = local.no_context_condition
  }] : statement if local.use.legacy_without_context]

  application_statements = concat(
    [
      {
        Sid       = "UseDataKeys"
        Effect    = "Allow"
        Action    = concat(["kms:Decrypt", "kms:GenerateDataKey"], local.use.kms_direct ? ["kms:Encrypt"] : [])
        Resource  = local.use.key_arns
        Condition = local.context_condition
      },
      local.describe_statement,
    ],
    local.legacy_statements,
    var.additional_application_statements,
  )

  migrator_statements = concat(
    [
      {
        Sid       = "UseDataKeys"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = local.use.key_arns
        Condition = local.context_condition
      },
      {
        Sid       = "Rewrap"
        Effect    = "Allow"
        Action    = ["kms:ReEncryptFrom", "kms:ReEncryptTo"]
        Resource  = local.use.key_arns
        Condition = local.context_condition
      },
      local.describe_statement,
    ],
    local.legacy_statements,
    var.additional_migrator_statements,
  )
}
