#!/bin/sh
# Runs one command of migrate-tokens in the cluster, and prints its output:
#   NAMESPACE=vod-tender sh run-in-cluster.sh status --keys
# CRONJOB names the template, and so the identity: token-status (default) is the migrator's, token-doctor the application's.
# Ends with 0 if the command did, otherwise with 1.
set -eu
: "${NAMESPACE:?set it to the namespace of the CronJobs}"
[ $# -gt 0 ] || { echo "give the command and its arguments" >&2; exit 2; }
job="tokenseal-$1-$(date +%s)"

kubectl --namespace "$NAMESPACE" create job "--from=cronjob/${CRONJOB:-token-status}" "$job" --dry-run=client --output=json |
  python3 -c 'import json, sys
job = json.load(sys.stdin)
job["spec"]["template"]["spec"]["containers"][0]["args"] = sys.argv[1:]
json.dump(job, sys.stdout)' "$@" |
  kubectl --namespace "$NAMESPACE" create --validate=ignore --filename=- >&2

ended() { kubectl --namespace "$NAMESPACE" get job "$job" --output=jsonpath='{.status.conditions[*].type}' | grep -qwE "$1"; }
until ended 'Complete|Failed'; do sleep 1; done
kubectl --namespace "$NAMESPACE" logs "job/$job"
ended Complete
