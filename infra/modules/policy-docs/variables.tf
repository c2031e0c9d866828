variable "account_id" {
  description = "The AWS account that owns the key, the roles and the secrets: twelve digits."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id is twelve digits."
  }
}

variable "partition" {
  description = "The AWS partition: aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"

  validation {
    condition     = contains(["aws", "aws-cn", "aws-us-gov"], var.partition)
    error_message = "partition is aws, aws-cn or aws-us-gov."
  }
}

variable "region" {
  description = "The Region, for the documents that name a regional service: secrets and trail."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region looks like eu-central-1."
  }
}

variable "encryption_context" {
  description = "The pairs that every request must carry with exactly these values: what ENCRYPTION_CONTEXT holds."
  type        = map(string)
  default = {
    Application = "vod-tender"
    Purpose     = "oauth-token"
  }

  validation {
    condition     = length(var.encryption_context) > 0
    error_message = "encryption_context is empty: without a pair nothing tells this application's requests from another's."
  }
  validation {
    condition     = alltrue([for name, value in var.encryption_context : try(length(trimspace(name)) > 0 && length(trimspace(value)) > 0, false)])
    error_message = "encryption_context has an empty name or value."
  }
  validation {
    condition     = alltrue([for name, value in var.encryption_context : !can(regex("[,=*?$]", "${name}${value}"))])
    error_message = "encryption_context must not contain a comma, an equals sign, a wildcard or a dollar sign."
  }
  validation {
    condition     = alltrue([for name in keys(var.encryption_context) : !contains(["table", "column"], name)])
    error_message = "table and column are added for each value and cannot be set."
  }
}

variable "binding_keys" {
  description = "The further context keys that a request may carry: table, column and the primary-key columns of every profile in use."
  type        = list(string)
  default     = ["table", "column", "provider", "channel"]

  validation {
    condition     = alltrue([for name in var.binding_keys : can(regex("^[^*?$,=\\s]+$", name))])
    error_message = "binding_keys must be plain names, without wildcards or spaces."
  }
}

variable "key" {
  description = <<-EOT
    The key policy to write: who administers the key (no cryptographic action), which roles use it directly
    (application) and which re-wrap (migrator). With exclusive, everybody else is denied its cryptographic actions,
    whatever IAM says; managing the key stays possible, so nobody is locked out.
  EOT
  type = object({
    administrators    = optional(list(string), [])
    application_roles = optional(list(string), [])
    migrator_roles    = optional(list(string), [])
    exclusive         = optional(bool, false)
  })
  default = null

  validation {
    condition = alltrue([
      for arn in concat(
        try(var.key.administrators, []), try(var.key.application_roles, []), try(var.key.migrator_roles, []),
      ) : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", arn))
    ])
    error_message = "key names IAM roles or users by their whole ARN; wildcards and the account root are refused."
  }
  validation {
    condition     = !try(var.key.exclusive, false) || length(concat(try(var.key.application_roles, []), try(var.key.migrator_roles, []))) > 0
    error_message = "key.exclusive without a single application or migrator role would leave a key that nobody can use."
  }
}

variable "use" {
  description = <<-EOT
    The identity policies for the use of keys. key_arns are key ARNs, never aliases: an alias in Resource does not cover
    its key. kms_direct adds kms:Encrypt, for tables whose tokens KMS itself encrypted. legacy_without_context lets the
    application and the migrator open what was wrapped without any context, while such rows still exist.
  EOT
  type = object({
    key_arns               = list(string)
    kms_direct             = optional(bool, false)
    legacy_without_context = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.use == null || try(length(var.use.key_arns) > 0, false)
    error_message = "use.key_arns is empty."
  }
  validation {
    condition     = alltrue([for arn in try(var.use.key_arns, []) : can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", arn))])
    error_message = "use.key_arns are key ARNs (arn:aws:kms:<region>:<account>:key/<id>): an alias or a wildcard does not do."
  }
}

variable "secrets" {
  description = <<-EOT
    The policies around named secrets: their ARNs (an ARN ending in -?????? matches the suffix that Secrets Manager adds),
    the key that encrypts them, and the roles that read, operate and rotate them.
  EOT
  type = object({
    secret_arns       = list(string)
    key_arn           = string
    reader_roles      = optional(list(string), [])
    operator_roles    = optional(list(string), [])
    rotation_roles    = optional(list(string), [])
    rotation_function = optional(string)
    exclusive         = optional(bool, false)
  })
  default = null

  validation {
    condition     = var.secrets == null || try(length(var.secrets.secret_arns) > 0, false)
    error_message = "secrets.secret_arns is empty."
  }
  validation {
    condition     = alltrue([for arn in try(var.secrets.secret_arns, []) : can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[A-Za-z0-9/_+=.@-]+[?*]*$", arn))])
    error_message = "secrets.secret_arns are ARNs of secrets; a wildcard may only stand at their end."
  }
  validation {
    condition = !try(var.secrets.exclusive, false) || length(concat(
      try(var.secrets.reader_roles, []), try(var.secrets.operator_roles, []), try(var.secrets.rotation_roles, []),
    )) > 0
    error_message = "secrets.exclusive without a single role would leave secrets that nobody can read."
  }
}

variable "irsa" {
  description = "Trust for IAM roles for service accounts: the cluster's OIDC provider and the service accounts, as namespace/name."
  type = object({
    provider_arn     = string
    service_accounts = list(string)
  })
  default = null

  validation {
    condition     = var.irsa == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", var.irsa.provider_arn))
    error_message = "irsa.provider_arn is the ARN of an IAM OIDC provider."
  }
  validation {
    condition     = var.irsa == null || try(length(var.irsa.service_accounts) > 0, false)
    error_message = "irsa.service_accounts is empty: the role could be assumed by nobody."
  }
  validation {
    condition     = alltrue([for account in try(var.irsa.service_accounts, []) : can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", account))])
    error_message = "irsa.service_accounts are namespace/name, without wildcards."
  }
}

variable "pod_identity" {
  description = "Trust for EKS Pod Identity: the one namespace and service account, and optionally the cluster, that may assume the role."
  type = object({
    namespace       = string
    service_account = string
    cluster_arn     = optional(string)
  })
  default = null

  validation {
    condition     = var.pod_identity == null || can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", "${var.pod_identity.namespace}/${var.pod_identity.service_account}"))
    error_message = "pod_identity names one namespace and one service account, without wildcards."
  }
}

variable "topic_arn" {
  description = "The SNS topic of the alarms, for its policy and its key's policy."
  type        = string
  default     = null

  validation {
    condition     = var.topic_arn == null || can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.topic_arn))
    error_message = "topic_arn is the ARN of an SNS topic."
  }
}

variable "trail" {
  description = "The CloudTrail trail: its name, its log group and the bucket that keeps its logs."
  type = object({
    name       = string
    log_group  = optional(string, "")
    bucket     = string
    key_prefix = optional(string, "")
    auditors   = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.trail == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.trail.bucket))
    error_message = "trail.bucket is the name of a bucket, not its ARN."
  }
}
