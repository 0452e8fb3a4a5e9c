use super::*;
use crate::config::Config;
use crate::config::Secret;

fn auth(change: impl FnOnce(&mut config::Auth)) -> Arc<Auth> {
    let mut config = Config::default().auth;
    change(&mut config);
    Arc::new(Auth::new(&config, &Arc::new(Metrics::new()), &Tasks::new()).unwrap())
}

#[test]
fn a_client_names_itself_in_trials_only() {
    let claimed = auth(|config| config.insecure = true).check_claimed("u1", vec!["r1".to_owned()]);
    let identity = claimed.unwrap();
    assert_eq!((&*identity.user, identity.rooms), ("u1", vec!["r1".to_owned()]));
    let refused = auth(|_| {}).check_claimed("u1", Vec::new()).unwrap_err();
    assert!(
        matches!(refused, Refusal::Close(CloseReason::TokenInvalid(why)) if why.contains("auth.insecure"))
    );
}

#[tokio::test]
async fn a_token_for_a_room_needs_a_key_and_says_so() {
    let bearer = Bearer { user: "u1".into(), session: "s1".to_owned(), room: "r1".to_owned() };
    let refused = auth(|_| {}).check_subscription("t".to_owned(), bearer.clone(), 1).await.unwrap_err();
    assert!(matches!(refused, GrantRefusal::Unavailable(why) if why.contains("auth.jwks_url")));
    let keyed = auth(|config| config.jwt_secret = Some(Secret::new("0123456789abcdef0123456789abcdef")));
    let refused = keyed.check_subscription("t".to_owned(), bearer, 1).await.unwrap_err();
    assert_eq!(refused, GrantRefusal::Invalid("it is no JSON Web Token".to_owned()));
}
