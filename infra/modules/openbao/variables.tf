variable "name" {
  description = "The first part of the names of policies and roles: vod-tender-production."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,46}[a-z0-9]$", var.name))
    error_message = "name has 3 to 48 lower-case letters, digits and hyphens, and starts with a letter."
  }
}

variable "transit_mount" {
  description = "The mount of the Transit engine."
  type        = string
  default     = "transit"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.transit_mount))
    error_message = "transit_mount is a path of letters, digits, dots, hyphens and underscores, without a slash at its ends."
  }
}

variable "with_transit_mount" {
  description = "Make the mount. false where it exists."
  type        = bool
  default     = true
}

variable "key_name" {
  description = "The Transit key of the tokens."
  type        = string
  default     = "tokens"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+$", var.key_name))
    error_message = "key_name has letters, digits, dots, hyphens and underscores: a wildcard would allow other keys."
  }
}

variable "auto_rotate_period" {
  description = "Seconds after which the key gets a new version by itself: 0 for never, otherwise an hour at least."
  type        = number
  default     = 7776000

  validation {
    condition     = var.auto_rotate_period == 0 || var.auto_rotate_period >= 3600
    error_message = "auto_rotate_period is 0, or 3,600 seconds and more."
  }
}

variable "min_decryption_version" {
  description = "The oldest version of the key that still opens. Raise it only when migrate-tokens rewrap has left no value under an older one, backups included; it is set here, so that an apply does not take it back."
  type        = number
  default     = 1

  validation {
    condition     = var.min_decryption_version >= 1 && floor(var.min_decryption_version) == var.min_decryption_version
    error_message = "min_decryption_version is a whole number from 1."
  }
}

variable "kv_mount" {
  description = "The mount of the KV engine, version 2, that holds the secrets. It is not made here."
  type        = string
  default     = "secret"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.kv_mount))
    error_message = "kv_mount is a path of letters, digits, dots, hyphens and underscores, without a slash at its ends."
  }
}

variable "secrets_path" {
  description = "The path below kv_mount that holds the application's secrets."
  type        = string
  default     = "app"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.secrets_path))
    error_message = "secrets_path is a path of letters, digits, dots, hyphens and underscores: a wildcard would allow other secrets."
  }
}

variable "approle_mount" {
  description = "The mount of the AppRole method, which exists."
  type        = string
  default     = "approle"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.approle_mount))
    error_message = "approle_mount is a path of letters, digits, dots, hyphens and underscores, without a slash at its ends."
  }
}

variable "approles" {
  description = "Roles of AppRole, by name: the policies (service, reader, migration, rotation, secrets-reader, secrets-writer), seconds that a token and a secret id live, and networks that may use them."
  type = map(object({
    policies      = list(string)
    token_ttl     = optional(number, 1200)
    token_max_ttl = optional(number, 86400)
    secret_id_ttl = optional(number, 7776000)
    cidrs         = optional(list(string))
  }))
  default = {}

  validation {
    condition = alltrue([for role in values(var.approles) : length(role.policies) > 0 && alltrue([
      for policy in role.policies : contains(["service", "reader", "migration", "rotation", "secrets-reader", "secrets-writer"], policy)
    ])])
    error_message = "each of approles has policies of service, reader, migration, rotation, secrets-reader and secrets-writer."
  }
}

variable "kubernetes_mount" {
  description = "The mount of the Kubernetes method, which exists."
  type        = string
  default     = "kubernetes"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.kubernetes_mount))
    error_message = "kubernetes_mount is a path of letters, digits, dots, hyphens and underscores, without a slash at its ends."
  }
}

variable "kubernetes_roles" {
  description = "Roles for service accounts of Kubernetes, by name: service account, namespace, audience of its token, policies, and seconds that a token lives."
  type = map(object({
    service_account = string
    namespace       = string
    audience        = string
    policies        = list(string)
    token_ttl       = optional(number, 1200)
    token_max_ttl   = optional(number, 86400)
  }))
  default = {}

  validation {
    condition = alltrue([for role in values(var.kubernetes_roles) : length(role.policies) > 0 && alltrue([
      for policy in role.policies : contains(["service", "reader", "migration", "rotation", "secrets-reader", "secrets-writer"], policy)
    ]) && !strcontains("${role.service_account}${role.namespace}", "*")])
    error_message = "each of kubernetes_roles has policies of service, reader, migration, rotation, secrets-reader and secrets-writer, and names one service account of one namespace."
  }
}
