//! The sample mail, about 2 KB.

/// Its subject.
pub const SUBJECT: &str = "{{ contact.name }}, the spring harvest is in";

/// Its body.
pub const HTML: &str = r#"<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{{ campaign.name }}</title></head>
<body style="margin:0;background:#f4f1ea;font-family:Georgia,'Times New Roman',serif;color:#2d2a26">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0"><tr><td align="center" style="padding:32px 12px">
<table role="presentation" width="560" cellpadding="0" cellspacing="0" style="background:#ffffff;border-radius:6px">
<tr><td style="padding:28px 36px;background:#35563a;border-radius:6px 6px 0 0;color:#ffffff;font-size:22px">Orchard &amp; Harbor</td></tr>
<tr><td style="padding:32px 36px 8px;font-size:20px">Good morning, {{ contact.name }}</td></tr>
<tr><td style="padding:8px 36px;font-size:16px;line-height:1.6">
<p>The first crates of the season came in this week, and the boats were back before the weather turned. Here is what you find
with us in {{ contact.attributes.city }} from Friday on.</p>
<table role="presentation" width="100%" cellpadding="8" cellspacing="0" style="font-size:15px;border-top:1px solid #ddd6c8">
<tr><td>Early apples, crisp and a little sour</td><td align="right">2.40 a kilo</td></tr>
<tr><td style="border-top:1px solid #ddd6c8">Smoked mackerel, from the harbor's own oven</td><td align="right" style="border-top:1px solid #ddd6c8">4.80</td></tr>
<tr><td style="border-top:1px solid #ddd6c8">Quince jelly, last year's, the final jars</td><td align="right" style="border-top:1px solid #ddd6c8">3.20</td></tr>
</table>
<p>You have come by {{ contact.attributes.visits }} times; the next coffee is on the house.</p>
<p><a href="https://orchard.example.com/season" style="display:inline-block;padding:12px 26px;background:#b5541c;color:#ffffff;text-decoration:none;border-radius:4px">See what is in season</a></p>
</td></tr>
<tr><td style="padding:20px 36px 30px;font-size:12px;color:#8a8276">You get this because {{ contact.email }} is on our list.
<a href="{{ unsubscribe_url }}" style="color:#8a8276">Unsubscribe</a></td></tr>
</table></td></tr></table>
</body>
</html>
"#;

/// A body for contact files of anybody: only what each contact has.
pub const PLAIN_HTML: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ campaign.name }}</title></head>
<body style="font-family:Georgia,'Times New Roman',serif;color:#2d2a26">
<h1 style="font-size:20px">Good morning, {{ contact.name }}</h1>
<p>This is a test of our mail system, sent to {{ contact.email }}. There is nothing to do.</p>
<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p>
</body></html>
"#;
