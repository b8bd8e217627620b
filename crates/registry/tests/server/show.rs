//! What is shown: pages for people, numbers for Prometheus.

use http::Method;

use super::common::*;

#[tokio::test]
async fn pages_show_what_is_there() {
    let registry = serve(|_| {}).await;
    let at = registry.address;
    let empty = ask(at, Method::GET, "/", &[], "").await;
    assert!(String::from_utf8_lossy(empty.body()).contains("docker push x/NAME:TAG"));
    let (digest, _) = put_image(at, "team/app", "1.0", &[&[1; 1500], &[2; 10]]).await;
    let page = async |path: &str| {
        let page = ask(at, Method::GET, path, &[], "").await;
        assert_eq!(page.status(), 200, "{path}");
        assert!(header(&page, "content-security-policy").starts_with("default-src 'none'"));
        String::from_utf8_lossy(page.body()).into_owned()
    };
    assert!(page("/").await.contains("<a href=\"/repositories/team/app\">team/app</a>"));
    assert!(page("/repositories/team/app").await.contains("docker pull x/team/app:1.0"));
    let image = page("/repositories/team/app@1.0").await;
    assert!(image.contains(&digest) && image.contains("1.5 kB") && image.contains("10 B"), "{image}");
    let nothing = ask(at, Method::GET, "/repositories/none", &[], "").await;
    assert_eq!(nothing.status(), 404);
    assert!(header(&nothing, "content-type").starts_with("text/html"));
    let odd = ask(at, Method::GET, "/repositories/%3Cscript%3E", &[], "").await;
    assert!(!String::from_utf8_lossy(odd.body()).contains("<script>"));
}

#[tokio::test]
async fn an_annotation_is_text() {
    let registry = serve(|_| {}).await;
    let at = registry.address;
    put_image(at, "a", "1", &[]).await;
    let manifest = manifest(&[]).replacen('{', r#"{"annotations":{"x":"<img src=x onerror=alert(1)>"},"#, 1);
    let kind = [("content-type", spec::oci::image::media::MANIFEST)];
    assert_eq!(ask(at, Method::PUT, "/v2/a/manifests/2", &kind, manifest).await.status(), 201);
    let page = ask(at, Method::GET, "/repositories/a@2", &[], "").await;
    let text = String::from_utf8_lossy(page.body());
    assert!(text.contains("&lt;img src=x") && !text.contains("<img"), "{text}");
}

#[tokio::test]
async fn numbers_are_counted() {
    let port = free_address();
    let registry = serve(|config| config.metrics = Some(port)).await;
    put_blob(registry.address, "a", &[1; 1000]).await;
    ask(registry.address, Method::GET, "/v2/a/manifests/none", &[], "").await;
    let numbers = ask(port, Method::GET, "/metrics", &[], "").await;
    let text = String::from_utf8_lossy(numbers.body());
    for line in [
        "corten_registry_requests_total{method=\"POST\",route=\"upload\",code=\"201\"} 1",
        "corten_registry_requests_total{method=\"GET\",route=\"manifest\",code=\"404\"} 1",
        "corten_registry_received_bytes_total 1000",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}
