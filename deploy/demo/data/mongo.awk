# Writes documents in MongoDB's extended JSON, one on each line:
# awk -v first=1 -v last=1000 -f mongo.awk
BEGIN {
	for (i = first; i <= last; i++) {
		printf "{\"_id\": %d, \"name\": \"Zoë 東京 \\\"%d\\\"\", \"price\": {\"$numberDouble\": \"%d.25\"}, ", i, i, i % 997
		printf "\"stock\": {\"$numberLong\": \"%.0f\"}, \"since\": {\"$date\": \"2024-%02d-%02dT12:00:00Z\"}, ", i * 1000003, 1 + i % 12, 1 + i % 28
		printf "\"tags\": [\"ü%d\", \"b\"], \"size\": {\"w\": %d, \"h\": null}, \"sold\": %s}\n", i % 50, i % 30, i % 3 ? "true" : "false"
	}
}
