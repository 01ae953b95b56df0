module breakerd.test/envoy

go 1.25
