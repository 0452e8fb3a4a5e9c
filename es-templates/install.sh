#!/bin/sh
# Installs pillion's index templates or dashboards: install.sh elasticsearch | opensearch | kibana | dashboards
#
#   elasticsearch   lifecycle policy, component templates, index template   (8.8 or newer)
#   opensearch      the same for OpenSearch                                 (2 or newer)
#   kibana          data view, searches, dashboard for Kibana 8.9 or newer
#   dashboards      the same for OpenSearch Dashboards and Kibana 7.10 to 8.8
#
# Environment:
#   ES_URL       http://localhost:9200    of Elasticsearch or OpenSearch
#   KIBANA_URL   http://localhost:5601    of Kibana or OpenSearch Dashboards
#   ES_API_KEY   or ES_USER and ES_PASSWORD, for all four
#   ES_CA        file with the certificate authority, for https
#
# May be run again: everything is replaced by what is here, except an ISM policy of OpenSearch, which is left alone.
# A changed template is used from the next index on; to have it now:  POST logs-pillion.events-default/_rollover
set -eu

here=$(cd "$(dirname "$0")" && pwd)
es=${ES_URL:-http://localhost:9200}
kibana=${KIBANA_URL:-http://localhost:5601}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

# curl with the credentials, which go in by its standard input: the arguments of a process are public.
# Prints the status; the body is in $answer.
call() {
    {
        [ -z "${ES_API_KEY:-}" ] || printf 'header = "Authorization: ApiKey %s"\n' "$ES_API_KEY"
        [ -z "${ES_USER:-}" ] || printf 'user = "%s:%s"\n' "$ES_USER" "${ES_PASSWORD:-}"
        [ -z "${ES_CA:-}" ] || printf 'cacert = "%s"\n' "$ES_CA"
    } | curl --config - --silent --show-error --max-time 60 --output "$answer" --write-out '%{http_code}' "$@"
}

fail() {
    echo "install.sh: $1" >&2
    cat "$answer" >&2
    echo >&2
    exit 1
}

# put PATH FILE
put() {
    status=$(call --request PUT --header 'Content-Type: application/json' --data-binary "@$here/$2" "$es/$1") ||
        fail "no answer from $es"
    case $status in
        2??) echo "$1" ;;
        409) echo "$1 (was there, left alone)" ;;
        *) fail "$status for PUT $1" ;;
    esac
}

# import FILE
import() {
    # Either name of the header that says: this is no web page acting in my name.
    status=$(call --request POST --header 'kbn-xsrf: true' --header 'osd-xsrf: true' \
        --form "file=@$here/$1" "$kibana/api/saved_objects/_import?overwrite=true") || fail "no answer from $kibana"
    # It answers 200 for a partial import too, and says so inside.
    { [ "$status" = 200 ] && grep -q '"success":true' "$answer"; } || fail "$status for $1"
    echo "$1"
}

case ${1:-} in
elasticsearch)
    status=$(call "$es/") || fail "no answer from $es"
    [ "$status" = 200 ] || fail "$status for GET /"
    version=$(sed -n 's/.*"number"[ ]*:[ ]*"\([0-9]*\.[0-9]*\).*/\1/p' "$answer")
    major=${version%%.*}
    minor=${version#*.}
    # Serverless gives no useful number; it has everything.
    [ -n "$version" ] || { major=9 minor=0; }

    put _ilm/policy/pillion-logs elasticsearch/ilm-pillion-logs.json
    put _component_template/pillion@mappings elasticsearch/component-pillion@mappings.json
    put _component_template/pillion@settings elasticsearch/component-pillion@settings.json
    if [ "$major" -gt 8 ] || { [ "$major" -eq 8 ] && [ "$minor" -ge 17 ]; }; then
        put _component_template/pillion@logsdb elasticsearch/component-pillion@logsdb.json
    fi
    put _index_template/logs-pillion elasticsearch/index-logs-pillion.json
    ;;
opensearch)
    put _plugins/_ism/policies/pillion-logs opensearch/ism-pillion-logs.json
    put _component_template/pillion@mappings opensearch/component-pillion@mappings.json
    put _component_template/pillion@settings opensearch/component-pillion@settings.json
    put _index_template/logs-pillion opensearch/index-logs-pillion.json
    ;;
kibana)
    import kibana/pillion-8.9.ndjson
    ;;
dashboards)
    import kibana/pillion-7.10.ndjson
    ;;
*)
    echo "usage: install.sh elasticsearch | opensearch | kibana | dashboards" >&2
    exit 64
    ;;
esac
