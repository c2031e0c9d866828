variable "transit_mount" {
  description = "The mount of the Transit engine."
  type        = string
  default     = "transit"

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.transit_mount))
    error_message = "transit_mount is a path of letters, digits, dots, hyphens and underscores, without a slash at its ends."
  }
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

variable "kv_mount" {
  description = "The mount of the KV engine, version 2, that holds the secrets."
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
