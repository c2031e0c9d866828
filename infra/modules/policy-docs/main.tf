# The statement that lets somebody use a key, wherever it stands: bound to the context by value, and to known keys by name.
# Both conditions are needed. ForAllValues alone is also true of a request without any context, and StringEquals alone lets
# any further pair through. No kms:ViaService here: it is only true of calls that an AWS service makes.
locals {
  root_arn     = "arn:${var.partition}:iam::${var.account_id}:root"
  context_keys = sort(distinct(concat(keys(var.encryption_context), var.binding_keys)))

  context_condition = {
    StringEquals                = { for name, value in var.encryption_context : "kms:EncryptionContext:${name}" => value }
    "ForAllValues:StringEquals" = { "kms:EncryptionContextKeys" = local.context_keys }
  }

  no_context_condition = {
    Null = { "kms:EncryptionContextKeys" = "true" }
  }

  account_statement = {
    Sid       = "AccountAndItsIamPolicies"
    Effect    = "Allow"
    Principal = { AWS = local.root_arn }
    Action    = "kms:*"
    Resource  = "*"
  }
}
