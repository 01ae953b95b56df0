# JSON schemas for kubeconform, from an OpenAPI document of the API server: a line each, its file's name, a tab, and the schema.
# A field that a schema does not name is refused, as `kubectl --validate=strict` does.
def strict:
  walk(
    if type == "object" and (.properties | type) == "object" and (has("additionalProperties") or .["x-kubernetes-preserve-unknown-fields"] | not)
    then .additionalProperties = false
    else .
    end
  );

(.components.schemas | strict) as $schemas
| $schemas
| to_entries[]
| .key as $name
| (.value["x-kubernetes-group-version-kind"] // [])[]
| select(.kind | IN($kinds[]))
| [.kind, (.group | select(. != "") | split(".")[0]), .version]
| (map(ascii_downcase) | join("-")) + ".json\t" + ({ "$ref": "#/components/schemas/\($name)", components: { schemas: $schemas } } | tojson)
