variable "account_id" {
  description = "The AWS account that owns the key, the roles and the secrets: twelve digits."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id is twelve digits."
  }
}

variable "partition" {
  description = "The AWS partition: aws, aws-cn, aws-us-gov, aws-eusc, aws-iso, aws-iso-b, aws-iso-e or aws-iso-f."
  type        = string
  default     = "aws"

  validation {
    condition     = contains(["aws", "aws-cn", "aws-us-gov", "aws-eusc", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f"], var.partition)
    error_message = "partition must be aws, aws-cn, aws-us-gov, aws-eusc, aws-iso, aws-iso-b, aws-iso-e or aws-iso-f."
  }
}

variable "region" {
  description = "The Region, for the documents that name a regional service: secrets and trail."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", var.region))
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
    error_message = "encryption_context is empty: without a pair, requests of this application and of another look the same."
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
    (application) and which re-wrap (migrator). With exclusive, all other principals are denied its cryptographic actions,
    regardless of IAM policies; managing the key stays possible. With break_glass_roles, only those roles may disable the key,
    schedule its deletion, replicate it or move its primary. With replica_regions, replicas and the primary stay in those Regions.
  EOT
  type = object({
    administrators    = optional(list(string), [])
    application_roles = optional(list(string), [])
    migrator_roles    = optional(list(string), [])
    exclusive         = optional(bool, false)
    break_glass_roles = optional(list(string), [])
    replica_regions   = optional(list(string))
  })
  default = null

  validation {
    condition = alltrue([
      for arn in concat(
        try(var.key.administrators, []), try(var.key.application_roles, []), try(var.key.migrator_roles, []),
        try(var.key.break_glass_roles, []),
      ) : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", arn))
    ])
    error_message = "key names IAM roles or users by their whole ARN; wildcards and the account root are refused."
  }
  validation {
    condition     = !try(var.key.exclusive, false) || length(concat(try(var.key.application_roles, []), try(var.key.migrator_roles, []))) > 0
    error_message = "key.exclusive without a single application or migrator role would leave a key that no one can use."
  }
  validation {
    condition     = try(var.key.replica_regions, null) == null || try(length(var.key.replica_regions) > 0, false)
    error_message = "key.replica_regions names at least one Region; leave it out to allow every Region."
  }
}

variable "additional_key_statements" {
  description = "Further statements for the key policy, as objects with Effect, Principal, Action and Resource."
  type        = any
  default     = []

  validation {
    condition     = can([for statement in var.additional_key_statements : [statement.Effect, statement.Principal]])
    error_message = "additional_key_statements is a list of statements of a resource policy, each with Effect and Principal."
  }
}

variable "additional_application_statements" {
  description = "Further statements for the application's identity policy, as objects with Effect, Action and Resource."
  type        = any
  default     = []

  validation {
    condition     = can([for statement in var.additional_application_statements : [statement.Effect, statement.Resource]])
    error_message = "additional_application_statements is a list of statements of an identity policy, each with Effect and Resource."
  }
}

variable "additional_migrator_statements" {
  description = "Further statements for the migrator's identity policy, as objects with Effect, Action and Resource."
  type        = any
  default     = []

  validation {
    condition     = can([for statement in var.additional_migrator_statements : [statement.Effect, statement.Resource]])
    error_message = "additional_migrator_statements is a list of statements of an identity policy, each with Effect and Resource."
  }
}

variable "additional_secret_statements" {
  description = "Further statements for the resource policy of each secret, as objects with Effect, Principal, Action and Resource."
  type        = any
  default     = []

  validation {
    condition     = can([for statement in var.additional_secret_statements : [statement.Effect, statement.Principal]])
    error_message = "additional_secret_statements is a list of statements of a resource policy, each with Effect and Principal."
  }
}

variable "additional_bucket_statements" {
  description = "Further statements for the policy of the log bucket, as objects with Effect, Principal, Action and Resource."
  type        = any
  default     = []

  validation {
    condition     = can([for statement in var.additional_bucket_statements : [statement.Effect, statement.Principal]])
    error_message = "additional_bucket_statements is a list of statements of a resource policy, each with Effect and Principal."
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
    error_message = "secrets.secret_arns are ARNs of secrets; only their end may have a wildcard."
  }
  validation {
    condition = !try(var.secrets.exclusive, false) || length(concat(
      try(var.secrets.reader_roles, []), try(var.secrets.operator_roles, []), try(var.secrets.rotation_roles, []),
    )) > 0
    error_message = "secrets.exclusive without a single role would leave secrets that no one can read."
  }
}

variable "secrets_key" {
  description = "The roles that the policy of the secrets' key allows directly, through Secrets Manager only: readers, and writers (operators and rotation functions)."
  type = object({
    reader_roles = optional(list(string), [])
    writer_roles = optional(list(string), [])
  })
  default = null

  validation {
    condition = alltrue([for arn in concat(try(var.secrets_key.reader_roles, []), try(var.secrets_key.writer_roles, [])) :
      can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+$", arn))
    ])
    error_message = "secrets_key names IAM roles or users by their whole ARN; wildcards and the account root are refused."
  }
}

variable "endpoint" {
  description = "VPC endpoint policies: the key ARNs and the secret ARNs (a wildcard may end them) that may be used through the endpoints."
  type = object({
    key_arns    = list(string)
    secret_arns = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.endpoint == null || try(length(var.endpoint.key_arns) > 0, false)
    error_message = "endpoint.key_arns is empty."
  }
}

variable "guardrails" {
  description = <<-EOT
    The service control policy: the roles that may stop what is listed (ARNs, * for any account), and the ARNs of the keys,
    trails, log groups, alarms and topics that all others leave alone.
  EOT
  type = object({
    break_glass_roles = list(string)
    key_arns          = optional(list(string), [])
    trail_arns        = optional(list(string), [])
    log_group_arns    = optional(list(string), [])
    alarm_arns        = optional(list(string), [])
    topic_arns        = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.guardrails == null || try(length(var.guardrails.break_glass_roles) > 0, false)
    error_message = "guardrails.break_glass_roles is empty: no one could stop a key in an incident."
  }
  validation {
    condition     = alltrue([for arn in try(var.guardrails.break_glass_roles, []) : can(regex("^arn:[a-z-]+:iam::([0-9]{12}|\\*):role/[A-Za-z0-9+=,.@_/-]+$", arn))])
    error_message = "guardrails.break_glass_roles are ARNs of roles; only the account may be a wildcard."
  }
}

variable "irsa" {
  description = <<-EOT
    Trust for IAM roles for service accounts: the OIDC providers of the clusters (provider_arn, provider_arns) and the service
    accounts, as namespace/name. audience is what the clusters' tokens are issued for.
  EOT
  type = object({
    provider_arn     = optional(string)
    provider_arns    = optional(list(string), [])
    service_accounts = list(string)
    audience         = optional(string, "sts.amazonaws.com")
  })
  default = null

  validation {
    condition     = var.irsa == null || try(length(concat(var.irsa.provider_arn[*], var.irsa.provider_arns)) > 0, false)
    error_message = "irsa names no OIDC provider."
  }
  validation {
    condition = alltrue([for arn in try(concat(var.irsa.provider_arn[*], var.irsa.provider_arns), []) :
      can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", arn))
    ])
    error_message = "irsa.provider_arn and irsa.provider_arns are ARNs of IAM OIDC providers."
  }
  validation {
    condition     = var.irsa == null || try(length(var.irsa.service_accounts) > 0, false)
    error_message = "irsa.service_accounts is empty: no one could assume the role."
  }
  validation {
    condition     = alltrue([for account in try(var.irsa.service_accounts, []) : can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", account))])
    error_message = "irsa.service_accounts are namespace/name, without wildcards."
  }
}

variable "pod_identity" {
  description = <<-EOT
    Trust for EKS Pod Identity: the service accounts (namespace and service_account, or service_accounts as namespace/name),
    and optionally the clusters (cluster_arn, cluster_arns), that may assume the role.
  EOT
  type = object({
    namespace        = optional(string)
    service_account  = optional(string)
    service_accounts = optional(list(string), [])
    cluster_arn      = optional(string)
    cluster_arns     = optional(list(string), [])
  })
  default = null

  validation {
    condition = alltrue([for account in try(concat(
      var.pod_identity.service_account == null && var.pod_identity.namespace == null ? [] : ["${coalesce(var.pod_identity.namespace, "*")}/${coalesce(var.pod_identity.service_account, "*")}"],
      var.pod_identity.service_accounts,
    ), []) : can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", account))])
    error_message = "pod_identity names namespaces and service accounts, without wildcards."
  }
  validation {
    condition     = var.pod_identity == null || try(var.pod_identity.service_account != null || length(var.pod_identity.service_accounts) > 0, false)
    error_message = "pod_identity names no service account: no one could assume the role."
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

    organization_id = optional(string)
  })
  default = null

  validation {
    condition     = var.trail == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.trail.bucket))
    error_message = "trail.bucket is the name of a bucket, not its ARN."
  }
}

variable "bucket_trails" {
  description = "All trails that write into the bucket of trail, each with its account, Region and path. If empty: the trail itself."
  type = list(object({
    name            = string
    account_id      = string
    region          = string
    key_prefix      = optional(string, "")
    organization_id = optional(string)
  }))
  default = []

  validation {
    condition     = alltrue([for trail in var.bucket_trails : can(regex("^[0-9]{12}$", trail.account_id)) && can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", trail.region))])
    error_message = "bucket_trails have an account of twelve digits and a Region like eu-central-1."
  }
  validation {
    condition     = alltrue([for trail in var.bucket_trails : trail.organization_id == null || can(regex("^o-[a-z0-9]{10,32}$", trail.organization_id))])
    error_message = "bucket_trails.organization_id looks like o-a1b2c3d4e5."
  }
}
