# The condition of every statement that allows the use of a key: bound to the context by value, and to known keys by name.
# Both conditions are needed. ForAllValues alone is also true of a request without any context, and StringEquals alone lets
# any further pair through. No kms:ViaService here: it is only true of calls that an AWS service makes.
locals {
  # Endpoints end differently in each partition. A service's principal ends with amazonaws.com in all of them, except the
  # logs principal in China and in the two older isolated partitions.
  dns_suffixes = {
    aws        = "amazonaws.com"
    aws-cn     = "amazonaws.com.cn"
    aws-eusc   = "amazonaws.eu"
    aws-iso    = "c2s.ic.gov"
    aws-iso-b  = "sc2s.sgov.gov"
    aws-iso-e  = "cloud.adc-e.uk"
    aws-iso-f  = "csp.hci.ic.gov"
    aws-us-gov = "amazonaws.com"
  }
  dns_suffix               = local.dns_suffixes[var.partition]
  logs_principal           = "logs.${var.region}.${contains(["aws-cn", "aws-iso", "aws-iso-b"], var.partition) ? local.dns_suffix : "amazonaws.com"}"
  secrets_manager_endpoint = "secretsmanager.${var.region}.${local.dns_suffix}"

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
