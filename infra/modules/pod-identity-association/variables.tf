variable "cluster_name" {
  description = "The EKS cluster's name. It needs the Pod Identity agent add-on."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z][A-Za-z0-9_-]{0,99}$", var.cluster_name))
    error_message = "cluster_name is the name of an EKS cluster."
  }
}

variable "service_account" {
  description = "The service account that becomes the role, as namespace/name."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", var.service_account))
    error_message = "service_account is namespace/name, without wildcards."
  }
}

variable "role_arn" {
  description = "The role that workload-access made with identity = \"pod-identity\"."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:iam::[0-9]{12}:role/", var.role_arn))
    error_message = "role_arn is the ARN of a role."
  }
}

variable "tags" {
  description = "Further tags for everything in this module. Left out, there are none."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name in keys(var.tags) : !startswith(lower(name), "aws:")])
    error_message = "tags that begin with aws: are AWS's own."
  }
}
